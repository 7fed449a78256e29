"""Numbers from what runs left: accuracy, tests of significance, ensembles, retrieval, embeddings.

Begin with ``evaluation``; every comparison's p-value is computed in ``statistics``; that a single run is better than chance, in
``evaluation.above_chance``; intervals of groups of runs over recordings, in
``bootstrap``. Imports: runs, models and what lies below.
"""
