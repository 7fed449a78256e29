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
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline import cache, cifar
from pipeline.augmentation import crop_and_flip
from pipeline.config import InputError, TrainSettings
from pipeline.stages.cells import Archive
from pipeline.training.step import Augment

#: The test images are the held-out fold, the training images the other.
TEST, TRAIN = 0, 1

#: Part of the digests: runs on images that were standardised otherwise (by channel and row, once) are other runs.
STANDARDISED = b"standardised per channel"


@dataclass(frozen=True)
class Pixels:
    """In place of feature settings; who would compute features for such a network is told what it reads."""

    images: str = "RGB / 255"


def name(archive: Archive) -> str:
    """Of the corpus in paths: another split, or another archive, is another corpus."""
    parts = ["cifar100", "" if archive.checksum else "stand-in"]
    parts.append(f"split{archive.split_seed}" if archive.split_seed else "")
    parts.append("" if archive.validation is None else f"without{archive.validation}")
    return "-".join(filter(None, parts))


def archive_of(corpus: str, path: Path) -> Archive:
    """The archive at ``path`` as the corpus of that ``name`` takes it apart."""
    found = re.fullmatch(r"cifar100(-stand-in)?(?:-split(\d+))?(?:-without(\d+))?", corpus)
    if not found:
        raise InputError(f"no image corpus {corpus!r}; expected a name such as cifar100 or cifar100-split1")
    stand_in, seed, kept = found.groups()
    return Archive(path, None if stand_in else cifar.MD5, int(seed or 0), None if kept is None else int(kept))


@functools.lru_cache(maxsize=1)
def read(archive: Archive) -> cache.Data:
    """The images of an archive: ``features`` (image, 1, channel, row, column) float32 in [0, 1], training ones first."""
    found = cifar.read_cifar100(archive.path, checksum=archive.checksum)
    kept = cifar.split(found.train_labels, archive.split_seed, archive.validation).train
    pixels = np.concatenate([found.train[kept], found.test])
    labels = np.concatenate([found.train_labels[kept], found.test_labels])
    folds = np.repeat([TRAIN, TEST], [len(kept), len(found.test)])
    names = (*(f"train/{row}" for row in kept), *(f"test/{row}" for row in range(len(found.test))))
    digests = {
        fold: hashlib.sha256(
            STANDARDISED + pixels[folds == fold].tobytes() + labels[folds == fold].tobytes()
        ).hexdigest()
        for fold in (TEST, TRAIN)
    }
    return cache.Data(
        features=(pixels[:, None] / np.float32(255)), labels=labels, folds=folds, clips=names, sources=names,
        classes=found.classes, corpus=name(archive), synthetic=archive.checksum is None, spec=Pixels(),  # type: ignore[arg-type]
        skipped={TEST: 0, TRAIN: 0}, digests=digests,
    )  # fmt: skip


def standardised_per(data: cache.Data) -> str:
    """What has a mean and a deviation of its own: of images a channel, of sounds a feature's bin."""
    return "channel" if isinstance(data.spec, Pixels) else "bin"


def augmentation(settings: TrainSettings, data: cache.Data, device: torch.device) -> Augment | None:
    """What the settings ask for; the padding shows the training images' mean."""
    if settings.augment == "none":
        return None
    if not isinstance(data.spec, Pixels):
        raise InputError(
            f"augment = {settings.augment!r} is for images, {data.corpus} has sounds; expected 'none'"
        )
    fill: Tensor = torch.from_numpy(data.features[data.folds == TRAIN].mean((0, 1, 3, 4), dtype=np.float64))
    return partial(crop_and_flip, fill=fill.float().view(-1, 1, 1).to(device))
