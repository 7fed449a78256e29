"""From planned runs to finished run folders: which are missing, in which packs, in which processes.

Begin with ``missing.train`` (which runs lack a result), then ``schedule`` (which are trained together), then ``packs`` (data,
teachers' outputs, ``training.fit``, run folders). What is to be trained comes from ``experiments``. Imports: everything about
sound, learning, runs and figures.
"""
