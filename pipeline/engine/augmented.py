"""How the inputs of a training change in every step, as its settings ask for it and its data are."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from pipeline import cache
from pipeline.config import InputError, TrainSettings
from pipeline.images.samples import TRAIN, Pixels
from pipeline.train_settings import OF_SOUNDS
from pipeline.training import spectrogram
from pipeline.training.augmentation import crop_and_flip
from pipeline.training.step import Augment


def augmentation(settings: TrainSettings, data: cache.Data, device: torch.device) -> Augment | None:
    """What the settings ask for; of images the padding shows the training images' mean."""
    if settings.mixstyle and isinstance(data.spec, Pixels):
        raise InputError(
            f"mixstyle = {settings.mixstyle:g} mixes how loud frequencies are, and {data.corpus} has images; expected 0"
        )
    if settings.augment == "none":
        return None
    if not isinstance(data.spec, Pixels):
        if settings.augment == "crop-flip":
            raise InputError(
                f"augment = 'crop-flip' is for images, {data.corpus} has sounds; expected 'none', or some of {', '.join(OF_SOUNDS)}"
            )
        levels = spectrogram.gain_levels(data.spec.names, data.spec.bins).to(device)
        return partial(spectrogram.changed, kinds=settings.augment.split(","), levels=levels)
    if settings.augment != "crop-flip":
        raise InputError(
            f"augment = {settings.augment!r} is for sounds, {data.corpus} has images; expected 'none' or 'crop-flip'"
        )
    fill: Tensor = torch.from_numpy(data.features[data.folds == TRAIN].mean((0, 1, 3, 4), dtype=np.float64))
    fill = fill.float().view(-1, 1, 1).to(device)

    def images(x: Tensor, draws: Tensor, _means: Tensor | None = None) -> Tensor:
        return crop_and_flip(x, draws, fill=fill)

    return images
