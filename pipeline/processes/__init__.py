"""Other processes: workers of a dask cluster, what they say of themselves, and modules that stand in the way of ours.

Begin with ``cluster``. Imports: config, extras.
"""
