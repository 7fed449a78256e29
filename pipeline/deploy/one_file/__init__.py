"""One ONNX file from samples to class: features and student in one graph, nothing beside it.

    student-sound[.RATE][.half][.int8].onnx
        "samples" (batch, n ≥ 1) float32, mono, full scale 1 → "logits", "probabilities" (batch, classes)

Without a rate the samples are at the features' own; with one the graph resamples them. ``half``: banks in float16; ``int8``: the
student in integers, quantised before it is joined. Begin here, then ``graph`` and ``proof``. Imports: as ``deploy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config import FeatureSpec, InputError
from pipeline.features import graph as feature_graph
from pipeline.features.graph.resampling import check_rate

NAME = "student-sound"


@dataclass(frozen=True)
class Form:
    """Which of the files: the rate of its samples, and how its two parts are kept."""

    rate: int
    half: bool
    int8: bool

    def file(self, spec: FeatureSpec) -> str:
        parts = [
            NAME,
            str(self.rate) if self.rate != spec.sr else "",
            "half" if self.half else "",
            "int8" if self.int8 else "",
        ]
        return ".".join([part for part in parts if part] + ["onnx"])

    @property
    def exact(self) -> bool:
        """Whether all of it is in float32, so that it must say what ``predict`` says."""
        return not (self.half or self.int8)


def forms(spec: FeatureSpec, rates: Sequence[int], half: bool) -> list[Form]:
    """The features' own rate and ``rates``, each with the student in float32 and int8; with ``half`` in both banks too."""
    for rate in rates:
        check_rate(rate, spec.sr)
    every = sorted({spec.sr, *rates})
    return [
        Form(rate, banks, int8)
        for rate in every
        for banks in ((False, True) if half else (False,))
        for int8 in (False, True)
    ]


def unsuited(spec: FeatureSpec) -> str:
    """Why a network on these features cannot be one file, and what to train instead; "" where it can."""
    chromagrams = any(
        name.startswith("chroma") for name in spec.names
    )  # what has neither a tuning nor a floor does without
    if chromagrams and (spec.tuning != 0 or not spec.floor):
        return (
            f"features.tuning = {spec.tuning!r} and features.floor = {spec.floor:g}: expected 0.0 and more than 0, for the same "
            "sound to have the same features without librosa; train with them: make distill PRESET=device"
        )
    if spec.short != "pad":
        return f"features.short = {spec.short!r}: expected 'pad': the graph fills up short sounds with zeros alone"
    try:
        feature_graph.check(spec)
    except InputError as error:
        return str(error)
    return ""
