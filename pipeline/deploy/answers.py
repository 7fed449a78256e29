"""How a prediction is written: as text, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.files import inert
from pipeline.spelling import one_line

if TYPE_CHECKING:
    import numpy as np

    from pipeline.deploy.prediction import Prediction

#: What an answer below a run's threshold is called.
NONE = "none of these"

#: A class of clips with several labels is there where its probability is at least this.
PRESENT = 0.5

#: Of a CSV.
COLUMNS = ("file", "start_s", "end_s", "rank", "class", "probability")


def top_classes(probabilities: np.ndarray, classes: Sequence[str], top: int) -> list[tuple[str, float]]:
    """The ``top`` likeliest classes with their probabilities, the likeliest first."""
    order = sorted(range(len(classes)), key=lambda i: -probabilities[i])[:top]
    return [(classes[i], float(probabilities[i])) for i in order]


def found(logits: np.ndarray) -> np.ndarray:
    """(clips, classes) bool: the classes of ``PRESENT`` and more by a sigmoid."""
    import numpy as np  # an answer that is text alone does without

    there: np.ndarray = logits >= np.log(PRESENT) - np.log1p(-PRESENT)
    return there


def same_sets(logits: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(clips,) bool: whether both (clips, classes) find the same classes."""
    same: np.ndarray = (found(logits) == found(others)).all(axis=1)
    return same


def as_text(name: str, prediction: Prediction, classes: Sequence[str], top: int, dash: str = "–") -> str:
    """A line for the sound; of several windows a line for each below it. Where clips have several labels all classes that are there are
    named, however many ``top`` asks for."""

    def line(head: str, probabilities: np.ndarray) -> str:
        ranked = top_classes(probabilities, classes, len(classes) if prediction.several else top)
        none = prediction.refused(probabilities)
        if prediction.several:
            none = ranked[0][1] < PRESENT
            ranked = ranked[:1] if none else [one for one in ranked if one[1] >= PRESENT]
        words = [f"{label} {100 * p:5.1f} %" for label, p in ranked]
        refused = [f"{NONE}; at most"] if none else []
        return one_line("   ".join([head, *refused, *words]))

    values = prediction.probabilities
    if len(values) == 1:
        return line(name, values[0])
    lines = [line(f"{name}  (mean of {len(values)} windows)", values.mean(0))]
    return "\n".join(lines + [line(f"  {a:8.2f}{dash}{b:.2f} s", p) for (a, b), p in zip(prediction.times, values)])


def as_csv(name: str, prediction: Prediction, classes: Sequence[str], top: int) -> str:
    """``COLUMNS`` of every window and class shown, a line for each, and of a window that is refused one of rank 0 before them: names with
    line breaks as text shows them. Where clips have several labels all classes are shown, and no class of ``PRESENT`` is a refusal."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for (start, end), values in zip(prediction.times, prediction.probabilities):
        if prediction.refused(values) or (prediction.several and values.max() < PRESENT):
            writer.writerow([inert(one_line(name)), f"{start:.3f}", f"{end:.3f}", 0, NONE, ""])
        for rank, (label, p) in enumerate(top_classes(values, classes, len(classes) if prediction.several else top), 1):
            writer.writerow(
                [inert(one_line(name)), f"{start:.3f}", f"{end:.3f}", rank, inert(one_line(label)), f"{p:.6f}"]
            )
    return out.getvalue().rstrip("\n")


def as_json(name: str, prediction: Prediction, classes: Sequence[str], top: int) -> str:
    """One JSON object."""

    def ranked(probabilities: np.ndarray) -> list[dict[str, Any]]:
        return [{"class": label, "probability": p} for label, p in top_classes(probabilities, classes, top)]

    values = prediction.probabilities

    def verdict(probabilities: np.ndarray) -> dict[str, Any]:
        if prediction.several:
            return {"present": [label for label, p in zip(classes, probabilities.tolist()) if p >= PRESENT]}
        return {} if prediction.threshold is None else {"none_of_these": prediction.refused(probabilities)}

    windows = [
        {
            "start_s": start,
            "end_s": end,
            "top": ranked(values[i]),
            **verdict(values[i]),
            "logits": prediction.logits[:, i].tolist(),
        }
        for i, (start, end) in enumerate(prediction.times)
    ]
    mean = values.mean(0)
    answer = {"file": name, "seconds": prediction.seconds, "top": ranked(mean), **verdict(mean), "windows": windows}
    return one_line(json.dumps(answer, ensure_ascii=False))
