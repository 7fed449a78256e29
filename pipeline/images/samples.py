"""An image corpus as the packs want it: one tensor of images, the test images as the one held-out fold.

Images are RGB / 255, float32; the network itself standardises them, each channel by its mean and
deviation over the training images. The training images that are kept aside for
validation are left out: nothing reads them, they are free for choosing settings. The split is the archive's
(``--split-seed``), the same for all seeds: another one is another corpus. The result is the last epoch's on the
test images.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import numpy as np

from pipeline import cache
from pipeline.images import cifar
from pipeline.images.archive import Archive, name

#: The test images are the held-out fold, the training images the other.
TEST, TRAIN = 0, 1

#: Part of the digests: runs on images that were standardised otherwise (by channel and row, once) are other runs.
STANDARDISED = b"standardised per channel"


@dataclass(frozen=True)
class Pixels:
    """In place of feature settings; who would compute features for such a network is told what it reads."""

    images: str = "RGB / 255"


@functools.lru_cache(maxsize=1)
def read(archive: Archive) -> cache.Data:
    """The images of an archive: ``features`` (image, 1, channel, row, column) float32 in [0, 1], training ones first."""
    images = cifar.read_cifar100(archive.path, checksum=archive.checksum)
    kept = cifar.split(images.train_labels, archive.split_seed, archive.validation).train
    pixels = np.concatenate([images.train[kept], images.test])
    labels = np.concatenate([images.train_labels[kept], images.test_labels])
    folds = np.repeat([TRAIN, TEST], [len(kept), len(images.test)])
    names = (*(f"train/{row}" for row in kept), *(f"test/{row}" for row in range(len(images.test))))
    digests = {
        fold: hashlib.sha256(
            STANDARDISED + pixels[folds == fold].tobytes() + labels[folds == fold].tobytes()
        ).hexdigest()
        for fold in (TEST, TRAIN)
    }
    return cache.Data(
        features=(pixels[:, None] / np.float32(255)),
        labels=labels,
        folds=folds,
        clips=names,
        sources=names,
        classes=images.classes,
        corpus=name(archive),
        synthetic=archive.checksum is None,
        spec=Pixels(),  # type: ignore[arg-type]
        skipped={TEST: 0, TRAIN: 0},
        digests=digests,
    )


def standardised_per(data: cache.Data) -> str:
    """What has a mean and a deviation of its own: of images a channel, of sounds a feature's bin."""
    return "channel" if isinstance(data.spec, Pixels) else "bin"
