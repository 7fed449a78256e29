"""The features as a torch module: samples in, features out, in float32 and with one fixed tuning, so that it can be exported.

``Features`` is the definition (``plain``) once more, of matrix products and convolutions alone: their constants are librosa's
banks (``definition``) and soxr's filter, measured. Begin with ``Features``, then ``spectrum`` and ``constant_q``; ``resampling``
is for sounds of other rates. Imports torch, so it is imported when it is called only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline import features
from pipeline.config import EVERY_FEATURE, FeatureSpec, InputError
from pipeline.features.graph.constant_q import CONSTANT_Q, Chromagrams
from pipeline.features.graph.spectrum import SPECTRAL, Spectral, check_framing


class Features(nn.Module):
    """Samples (batch, ``spec.samples``) float32 at ``spec.sr`` → (batch, len(names), ``spec.bins``, ``spec.frames``) float32.

    ``names``: which features, in which order, by default those in use; ``half``: tables in float16, each column over its largest value. Every clip of
    a batch is computed on its own. The worst differences to ``features.extract`` are in docs/features.md. Raises ``InputError``
    for an estimated tuning, for names that are none, and for settings that the spectrum cannot be framed with.
    """

    def __init__(self, spec: FeatureSpec, names: Sequence[str] | None = None, *, half: bool = False) -> None:
        super().__init__()
        names = spec.names if names is None else names
        check(spec, names)
        self.spec, self.names = spec, tuple(names)
        spectral = [name for name in SPECTRAL if name in names]
        constant_q = [name for name in CONSTANT_Q if name in names]
        self.spectral = Spectral(spec, spectral, half=half) if spectral else None
        self.chromagrams = Chromagrams(spec, constant_q, half=half) if constant_q else None

    def forward(self, samples: Tensor) -> Tensor:
        planes: dict[str, Tensor] = {}
        for part in (self.spectral, self.chromagrams):
            if part is not None:
                planes |= part(samples)
        return torch.stack([padded(planes[name], self.spec.bins) for name in self.names], dim=1)


def padded(plane: Tensor, bins: int) -> Tensor:
    """(batch, rows, frame) with rows of zeros up to ``bins``."""
    lacking = bins - plane.shape[1]
    return functional.pad(plane, (0, 0, 0, lacking)) if lacking else plane


def check(spec: FeatureSpec, names: Sequence[str] | None = None) -> None:
    """``InputError`` for what ``Features`` cannot compute."""
    names = spec.names if names is None else names
    features.check(spec)
    if unknown := [name for name in names if name not in EVERY_FEATURE]:
        raise InputError(f"feature {unknown[0]!r}: expected some of {', '.join(EVERY_FEATURE)}")
    if not names or len(set(names)) < len(names):
        raise InputError(f"features {', '.join(names) or 'none'}: expected at least one, and none twice")
    if spec.tuning == "estimate" and set(names) - {"mfcc", "melspectrogram", "pcen"}:
        raise InputError(
            "features.tuning = 'estimate': expected a number, 0.0 for example: the graph's banks are of one tuning for all clips"
        )
    if any(name in SPECTRAL for name in names):
        check_framing(spec)
