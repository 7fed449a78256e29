"""Image corpora as what training is given: ``cifar`` reads the archive, ``samples`` makes the arrays of it.

Begin with ``samples.read``. Nothing else knows that there are images. Imports: config, cache.
"""
