"""A student to ship, trained on all folds with its teacher: nothing is held out, so nothing about it is measured on its own clips.

- ``training``: teacher and student without a held-out fold, in finals/CORPUS; ``expected``: the accuracy of held-out runs of the same settings;
- ``unknown``: what its threshold for "none of these" refuses: noise, made-up sounds, classes that a student was trained without;
- ``shipping``: ONNX with its proof, golden vectors and the model card (``card``), in exports/CORPUS.

Begin with ``shipping``. Imports: as deploy.
"""
