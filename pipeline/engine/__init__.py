"""From planned runs to finished run folders: which are missing, in which packs, in which processes.

Begin with ``missing.train``, then ``schedule``, then ``packs``. Imports: everything about sound, learning, runs
and figures.
"""
