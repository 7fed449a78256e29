"""What a network listens to: which cells of a clip's mel plane it cannot do without, and whether they are sound or background.

After Cheng et al. (CVPR 2020) and Ma et al. (2019), METHODS.md 8, for sounds. ``foreground`` says which cells are sound (our own
definition), ``discarded`` learns how much noise each block of cells bears, ``concepts`` counts. All are pure functions.

Begin with ``concepts``. Imports: models and what lies below.
"""
