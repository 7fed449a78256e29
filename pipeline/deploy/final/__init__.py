"""A student to ship, trained on all folds with its teacher: nothing is held out, so nothing about it is measured on its own clips.

- ``training``: teacher and student without a held-out fold, in finals/CORPUS; ``expected``: the accuracy of held-out runs of the same settings;
- ``unknown``: what its threshold for "none of these" refuses: noise, made-up sounds, classes that a student was trained without;
  ``present``: the same where clips have several labels, each class there or not by itself;
- ``shipping``: ONNX with its proof, golden vectors and the model card (``card``), in exports/CORPUS; ``telling``: in words.

Begin with ``shipping``. Imports: as deploy.
"""
