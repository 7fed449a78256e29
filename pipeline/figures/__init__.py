"""Numbers from what runs left: accuracy, statistics (all tests), ensembles, retrieval, embeddings.

Begin with ``evaluation``; every test of significance is in ``statistics``. Imports: runs, models and what lies below.
"""
