"""Stage one: every clip of a corpus, its noisy and its changed copies, as features in one HDF5 file per fold.

Begin with ``stage.run``; ``state`` says what is there already, ``workers`` compute, ``assembly`` writes the files.
Imports: features, cache, corpus and what lies below. No torch.
"""
