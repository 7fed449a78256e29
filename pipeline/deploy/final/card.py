"""The model card of a student that is shipped, as Markdown (Mitchell et al. 2019): data, classes, settings, figures, limits, licence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline.config import Settings
from pipeline.corpus import Corpus
from pipeline.deploy.answers import NONE, PRESENT
from pipeline.deploy.final.expected import Expected
from pipeline.deploy.final.present import Present
from pipeline.label_sets import measure
from pipeline.plurals import many, plural
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
    record: Record,
    corpus: Corpus,
    settings: Settings,
    expected: Expected,
    none: Refusal | Present,
    proof: Mapping[str, Any],
) -> str:
    """All of it. ``none``: what is none of the classes."""
    stamp = f"**{STAMP}: trained on made-up sounds; it knows nothing of real ones.**\n\n" if record.synthetic else ""
    parts = [
        f"# {markdown_cell(record.model)}: {markdown_cell(corpus.name)}, {len(corpus.classes)} classes\n\n{stamp}"
        f"A student of {proof['parameters']:,} weights, taught by a {record.settings.teacher.model} under `{record.mix_text}`, both trained on all "
        f"{len(corpus.folds)} folds. Files: `model.onnx`, `model.int8.onnx`, `labels.json`, `features.json`, {'' if record.several_labels else '`refusal.json`, '}`proof.json`; golden vectors "
        f"`golden.wav` and `golden.npz`{from_sound(proof)}.",
        data(corpus),
        figures(expected, none),
        proven(proof, record.several_labels),
        limits(corpus, settings),
        f"## Licence of the data\n\n{LICENCES.get(corpus.dataset, OWN)}.",
        settings_table(settings),
    ]
    return "\n\n".join(parts) + "\n"


def from_sound(proof: Mapping[str, Any]) -> str:
    files = proof.get("one_file", {}).get("files", {})
    return f"; from samples to class in one file: {', '.join(f'`{name}`' for name in files)}" if files else ""


def data(corpus: Corpus) -> str:
    own = corpus.label_sets or [(label,) for label in range(len(corpus.classes))]
    counts = Counter(number for clip in corpus.clips for number in own[clip.label])
    recordings = len({clip.source for clip in corpus.clips})
    rows = "\n".join(f"| {markdown_cell(name)} | {counts[label]} |" for label, name in enumerate(corpus.classes))
    kind = "windows of long files" if corpus.windows else "clips"
    several = ", several classes each" if corpus.label_sets else ""
    return (
        f"## Data and classes\n\n{len(corpus.clips):,} {kind} of {recordings:,} {plural(recordings, 'recording')}, folds {', '.join(map(str, corpus.folds))} of "
        f"{markdown_cell(corpus.name)} ({corpus.dataset}); {kind} of {corpus.seconds:g} s{several}.\n\n| class | {kind} |\n| :--- | ---: |\n{rows}"
    )


def figures(expected: Expected, none: Refusal | Present) -> str:
    balanced = f" Balanced accuracy {number(expected.balanced)} %." if expected.balanced is not None else ""
    return (
        f"## Figures\n\nExpected {measure(expected.several)}: {number(expected.score)} %{expected.within}.{balanced} That is the mean of {many(expected.runs, 'run')} of the same settings on "
        f"{many(expected.folds, 'held-out fold')}, trained on fewer clips than this student. It was never measured on this "
        f"student: it has heard all of the clips.\n\n{at_threshold(none) if isinstance(none, Refusal) else at_half(none)}"
    )


def at_threshold(refusal: Refusal) -> str:
    """Of a student that names one class: what is below its threshold."""
    rows = "\n".join(
        f"| {markdown_cell(kind)} | {told['clips']:g} | {100 * told['refused']:.1f} | "
        f"{'' if 'auroc' not in told else format(told['auroc'], '.3f')} |"
        for kind, told in refusal.detects.items()
    )
    return (
        f"*{NONE}*: an answer whose largest probability is below {refusal.threshold:.4f} is refused. {refusal.what_it_costs} "
        "What it refuses of what is none of the classes:\n\n"
        f"| sound | {refusal.kind} | refused, % | AUROC |\n| :--- | ---: | ---: | ---: |\n{rows}\n\n"
        "Noise and made-up sounds: by this student. Made-up sounds imitate classes of UrbanSound8K. A class never heard: by a student of the same settings that was "
        f"trained without it, on all {refusal.kind} of it."
    )


def at_half(present: Present) -> str:
    """Of a student of clips with several labels: what is found at ``PRESENT``."""
    rows = "\n".join(
        f"| {markdown_cell(name)} | {told['clips']} | {share(told['found'])} | {share(told['right'])} |"
        for name, told in present.classes.items()
    )
    quiet = "\n".join(
        f"| {markdown_cell(kind)} | {told['clips']:g} | {100 * told['refused']:.1f} |"
        for kind, told in present.nothing.items()
    )
    return (
        f"A class is there from a probability of {PRESENT:g} on, each by itself; no threshold was chosen. Of the held-out runs' answers:\n\n"
        f"| class | {present.kind} with it | of these found, % | of what is found right, % |\n| :--- | ---: | ---: | ---: |\n{rows}\n\n"
        f"*{NONE}*: no class is there. So answered is {100 * present.none:.1f} % of the {present.clips:,} answers to held-out {present.kind}, each of which has a "
        f"class, and of what is none of the classes:\n\n| sound | {present.kind} | *{NONE}*, % |\n| :--- | ---: | ---: |\n{quiet}\n\n"
        "Noise and made-up sounds: by this student. Made-up sounds imitate classes of UrbanSound8K."
    )


def share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def proven(proof: Mapping[str, Any], several: bool) -> str:
    same = "finds the same classes" if several else "names the same class"
    return (
        f"## Proof\n\nOn {proof['compared_samples'] - 1} of its training samples and on `golden.wav`, which it never heard, the logits of torch and ONNX differ by at most {proof['worst_logit_difference']:.1e}, those of "
        f"int8 by {proof['worst_logit_difference_int8']:.2g}; int8 {same} on {100 * proof['agreement_int8']:.1f} %. Outputs are compared, never "
        "accuracy. Whoever runs it elsewhere compares with the golden vectors: `golden.wav` gives `features`, and these `logits`, of `golden.npz`."
    )


def limits(corpus: Corpus, settings: Settings) -> str:
    several = bool(corpus.label_sets)
    names = (
        "says of each by itself whether it is there; which of them go together it learned from its clips"
        if several
        else "names one of them, or none; several at once it cannot say"
    )
    sure = "sigmoid" if several else "softmax"
    return (
        f"## Limits\n\n- It knows {len(corpus.classes)} classes and {names}.\n"
        f"- It hears {settings.features.seconds:g} s at {settings.features.sr} Hz; other microphones, rooms and levels than those of the data were not tested.\n"
        f"- A {sure} is sure of much that it never heard: the table above says how much is refused, not that the rest is right."
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
