"""The model card of a student that is shipped, as Markdown (Mitchell et al. 2019): data, classes, settings, figures, limits, licence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline.config import Settings
from pipeline.corpus import Corpus
from pipeline.deploy.answers import NONE
from pipeline.deploy.final.expected import Expected
from pipeline.report.aggregation import STAMP
from pipeline.report.table import markdown_cell, number
from pipeline.runs import Record
from pipeline.runs.refusal import Refusal

#: Data set → licence of its sounds.
LICENCES = {
    "urbansound8k": "CC BY-NC 3.0 (Salamon, Jacoby, Bello 2014): no commercial use",
    "esc50": "CC BY-NC 3.0 (Piczak 2015): no commercial use; the clips of ESC-10 CC BY 3.0",
    "esc10": "CC BY 3.0 (Piczak 2015)",
    "synthetic": "none: made-up sounds of this project",
}
OWN = "not known to this program: the sounds are your own, and so is the question who may use what was trained on them"


def card(
    record: Record, corpus: Corpus, settings: Settings, expected: Expected, refusal: Refusal, proof: Mapping[str, Any]
) -> str:
    """All of it."""
    stamp = f"**{STAMP}: trained on made-up sounds; it knows nothing of real ones.**\n\n" if record.synthetic else ""
    parts = [
        f"# {markdown_cell(record.model)}: {markdown_cell(corpus.name)}, {len(corpus.classes)} classes\n\n{stamp}"
        f"A student of {proof['parameters']:,} weights, taught by a {record.settings.teacher.model} under `{record.mix_text}`, both trained on all "
        f"{len(corpus.folds)} folds. Files: `model.onnx`, `model.int8.onnx`, `labels.json`, `features.json`, `refusal.json`, `proof.json`; golden vectors "
        f"`golden.wav` and `golden.npz`{from_sound(proof)}.",
        data(corpus),
        figures(expected, refusal),
        proven(proof),
        limits(corpus, settings),
        f"## Licence of the data\n\n{LICENCES.get(corpus.dataset, OWN)}.",
        settings_table(settings),
    ]
    return "\n\n".join(parts) + "\n"


def from_sound(proof: Mapping[str, Any]) -> str:
    files = proof.get("one_file", {}).get("files", {})
    return f"; from samples to class in one file: {', '.join(f'`{name}`' for name in files)}" if files else ""


def data(corpus: Corpus) -> str:
    counts = Counter(clip.label for clip in corpus.clips)
    recordings = len({clip.source for clip in corpus.clips})
    rows = "\n".join(f"| {markdown_cell(name)} | {counts[label]} |" for label, name in enumerate(corpus.classes))
    kind = "windows of long files" if corpus.windows else "clips"
    return (
        f"## Data and classes\n\n{len(corpus.clips):,} {kind} of {recordings:,} recordings, folds {', '.join(map(str, corpus.folds))} of "
        f"{markdown_cell(corpus.name)} ({corpus.dataset}); {kind} of {corpus.seconds:g} s.\n\n| class | {kind} |\n| :--- | ---: |\n{rows}"
    )


def figures(expected: Expected, refusal: Refusal) -> str:
    low, high = expected.low, expected.high
    within = f", 95 % interval {number(low)} to {number(high)}" if low is not None and high is not None else ""
    balanced = f" Balanced accuracy {number(expected.balanced)} %." if expected.balanced is not None else ""
    rows = "\n".join(
        f"| {markdown_cell(kind)} | {told['clips']:g} | {100 * told['refused']:.1f} | "
        f"{'' if 'auroc' not in told else format(told['auroc'], '.3f')} |"
        for kind, told in refusal.detects.items()
    )
    elsewhere = (
        f" Set by the other folds it refuses {100 * refusal.refused_elsewhere:.1f} % of a fold's clips."
        if refusal.refused_elsewhere is not None
        else ""
    )
    return (
        f"## Figures\n\nExpected accuracy: {number(expected.accuracy)} %{within}.{balanced} That is the mean of {expected.runs} runs of the same settings on "
        f"{expected.folds} held-out {'fold' if expected.folds == 1 else 'folds'}, trained on fewer clips than this student. It was never measured on this "
        "student: it has heard all of the clips.\n\n"
        f"*{NONE}*: an answer whose largest probability is below {refusal.threshold:.4f} is refused; so are at most {refusal.share:.0%} of the "
        f"{refusal.clips:,} held-out clips of known classes.{elsewhere} What it refuses of what is none of the classes:\n\n"
        f"| sound | clips | refused, % | AUROC |\n| :--- | ---: | ---: | ---: |\n{rows}\n\n"
        "Noise and made-up sounds: by this student. Made-up sounds imitate classes of UrbanSound8K. A class never heard: by a student of the same settings that was "
        "trained without it, on held-out clips."
    )


def proven(proof: Mapping[str, Any]) -> str:
    return (
        f"## Proof\n\nOn {proof['compared_samples']} of its training samples the logits of torch and ONNX differ by at most {proof['worst_logit_difference']:.1e}, those of "
        f"int8 by {proof['worst_logit_difference_int8']:.2g}; int8 names the same class on {100 * proof['agreement_int8']:.1f} %. Outputs are compared, never "
        "accuracy. Whoever runs it elsewhere compares with the golden vectors: `golden.wav` gives `features`, and these `logits`, of `golden.npz`."
    )


def limits(corpus: Corpus, settings: Settings) -> str:
    return (
        f"## Limits\n\n- It knows {len(corpus.classes)} classes and names one of them, or none; several at once it cannot say.\n"
        f"- It hears {settings.features.seconds:g} s at {settings.features.sr} Hz; other microphones, rooms and levels than those of the data were not tested.\n"
        "- A softmax is sure of much that it never heard: the table above says how much is refused, not that the rest is right."
    )


def settings_table(settings: Settings) -> str:
    from dataclasses import asdict

    lines = [f"## Settings\n\nPreset `{settings.preset}`.\n\n| setting | value |\n| :--- | :--- |"]
    for table in ("features", "teacher", "student"):
        lines += [
            f"| {table}.{key} | {markdown_cell(str(value))} |"
            for key, value in asdict(getattr(settings, table)).items()
        ]
    return "\n".join(lines)
