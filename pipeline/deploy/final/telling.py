"""What came out of a final student, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.deploy.answers import PRESENT
from pipeline.deploy.export import TOLERANCE
from pipeline.deploy.final.present import Present
from pipeline.deploy.final.shipping import Final
from pipeline.plurals import many
from pipeline.runs.refusal import Refusal


def text(done: Final) -> str:
    """For a terminal."""
    from pipeline.deploy.one_file import making  # onnx: an extra

    told, proof = done.expected, done.proof
    stayed = f"; in floating point: {way}" if (way := proof.get("int8_in_float")) else ""  # older ones do not say it
    lines = [
        f"student     {done.run}, trained on all folds",
        f"folder      {done.export}",
        f"expected    {'mAP ' if told.several else ''}{told.score:.2f} %{told.within}: {many(told.runs, 'run')} on {many(told.folds, 'held-out fold')}, trained on fewer clips",
        f"difference  {proof['worst_logit_difference']:.1e} worst logit, torch against ONNX (allowed: {TOLERANCE:.0e})",
        f"int8        the same {'classes' if told.several else 'class'} as float on {100 * proof['agreement_int8']:.2f} % of {many(proof['compared_samples'], 'sample')}{stayed}",
        *none_of_these(done.none),
    ]
    lines += making.lines(proof[making.ENTRY], "of its own clips: outputs are compared, never accuracy")
    if proof["synthetic"]:
        lines.insert(0, "SYNTHETIC (made-up sounds: these figures say nothing about real ones)")
    return "\n".join(lines)


def none_of_these(none: Refusal | Present) -> list[str]:
    """What is none of the classes."""
    if isinstance(none, Present):
        first = f"present     from {PRESENT:g} on, each class by itself; no class in {100 * none.none:.1f} % of {many(none.clips, 'answer')} to held-out {none.kind}, and in"
        detects: Mapping[str, Mapping[str, float]] = none.nothing
    else:
        first = f"refused     below {none.threshold:.4f}: at most {none.share:.0%} of {many(none.clips, 'answer')} to held-out {none.kind} of known classes"
        if none.windows is not None:
            first += f", {100 * none.windows:.1f} % of their windows by themselves"
        detects = none.detects
    return [
        first,
        *(f"            {100 * told['refused']:5.1f} % of {told['clips']:g} {kind}" for kind, told in detects.items()),
    ]
