"""``verify`` for images: how many there are, of how many classes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pipeline.corpus.verification import Verification
from pipeline.images.cifar import read_cifar100

#: Images of CIFAR-100, training and test.
PUBLISHED = 60_000


def verify_cifar100(root: Path) -> Verification:
    """The archive in ``root``, or ``root`` itself, counted. ``InputError`` where it cannot be read as CIFAR-100."""
    images = read_cifar100(root)
    counts = Counter(images.train_labels.tolist() + images.test_labels.tolist())
    classes = {images.classes[label]: n for label, n in sorted(counts.items())}
    return Verification("cifar100", root, sum(counts.values()), {}, classes, 0.0, published=PUBLISHED)
