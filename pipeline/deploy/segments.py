"""Windows → events: which class is heard from when to when, as text, CSV, JSON, or a label track of Audacity.

Windows overlap by half, so the times of all their ends cut a sound into pieces; what is said of a piece is the mean over the windows
that lie over it. Pieces one behind the other whose likeliest class is the same are one event, with the mean of its probability over
their time as score. A piece whose likeliest class is below the threshold belongs to none. Where clips have several labels, each class has
events of its own, of the pieces in which it is not below; they may overlap.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.deploy.prediction import Prediction
from pipeline.files import inert
from pipeline.plurals import many
from pipeline.spelling import one_line

#: Least probability of an event's class, where neither the user nor the run's "none of these" says another.
THRESHOLD = 0.5

#: Bytes of a sound's name that a label track keeps: file systems take 255, and the name that it is written under is longer.
LONGEST = 200

#: Of a CSV.
COLUMNS = ("file", "start_s", "end_s", "class", "score")


class Event(NamedTuple):
    """A class heard from ``start`` to ``end`` (seconds), and the mean of its probability in between."""

    label: str
    start: float
    end: float
    score: float


def pieces(prediction: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Edges (n + 1,) in seconds, and (n, classes): the mean probabilities of the windows over each piece between two edges."""
    starts, ends = (np.array(side) for side in zip(*prediction.times))
    edges = np.unique(np.concatenate([starts, ends]))
    # The windows over a piece lie one behind the other: a table of all pieces and windows would be gigabytes for a day of sound.
    first, behind = np.searchsorted(ends, edges[1:]), np.searchsorted(starts, edges[:-1], side="right")
    values = prediction.probabilities
    means = [values[begin:end].mean(0) for begin, end in zip(first, behind)]
    return edges, np.stack(means) if means else values[:0]


def events(prediction: Prediction, classes: Sequence[str], threshold: float = THRESHOLD) -> list[Event]:
    """The events of a sound, in turn; they overlap only of different classes, where clips have several labels. ``threshold``: least
    probability of the likeliest class, from 0 to 1, or of each."""
    edges, values = pieces(prediction)
    if len(edges) < 2:  # a sound without a length
        return []
    if not prediction.several:
        return merged_pieces(np.where(values.max(1) >= threshold, values.argmax(1), -1), edges, values, classes)
    each = (
        merged_pieces(np.where(values[:, at] >= threshold, at, -1), edges, values, classes)
        for at in range(len(classes))
    )
    return sorted((event for of_class in each for event in of_class), key=lambda event: (event.start, event.label))


def merged_pieces(best: np.ndarray, edges: np.ndarray, values: np.ndarray, classes: Sequence[str]) -> list[Event]:
    """Pieces behind each other with the same class ``best`` (n,), −1 for none, as events."""
    first = np.flatnonzero(np.diff(best, prepend=-2))
    merged = []
    for begin, end in zip(first, [*first[1:], len(best)]):
        if (label := int(best[begin])) >= 0:
            score = np.average(values[begin:end, label], weights=np.diff(edges[begin : end + 1]))
            merged.append(Event(classes[label], float(edges[begin]), float(edges[end]), float(score)))
    return merged


def as_text(name: str, heard: Sequence[Event], dash: str = "–") -> str:
    """The sound's name, and a line for each event below it."""
    lines = [f"  {one.start:8.2f}{dash}{one.end:.2f} s  {one.label} {100 * one.score:.1f} %" for one in heard]
    return "\n".join(map(one_line, [f"{name}  ({many(len(heard), 'event')})", *lines]))


def as_csv(name: str, heard: Sequence[Event]) -> str:
    """A row of ``COLUMNS`` for each event; "" without any."""
    out = io.StringIO()
    names = [(inert(one_line(name)), inert(one_line(e.label))) for e in heard]
    rows = (
        (sound, f"{e.start:.3f}", f"{e.end:.3f}", label, f"{e.score:.6f}") for (sound, label), e in zip(names, heard)
    )
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().rstrip("\n")


def as_json(name: str, heard: Sequence[Event], seconds: float) -> str:
    """One JSON object."""
    rows = [{"class": e.label, "start_s": e.start, "end_s": e.end, "score": e.score} for e in heard]
    return one_line(json.dumps({"file": name, "seconds": seconds, "events": rows}, ensure_ascii=False))


def as_labels(heard: Sequence[Event]) -> str:
    """A label track of Audacity (File, Import, Labels): start, end, name and score, a tab between; "" without events."""
    return "".join(f"{e.start:.6f}\t{e.end:.6f}\t{' '.join(e.label.split())} {e.score:.2f}\n" for e in heard)


def track_name(sound: str, taken: Collection[str]) -> str:
    """The file of a sound's label track, which is none of those ``taken``: sounds in several folders may have one name.

    A name that leaves no room for more is cut, with a digest of the whole behind it.
    """
    stem = sound
    while len(os.fsencode(stem)) > LONGEST:
        stem = stem[:-1]
    if stem != sound:
        stem += f"~{hashlib.sha256(os.fsencode(sound)).hexdigest()[:8]}"
    track, count = f"{stem}.txt", 1
    while track in taken:
        track, count = f"{stem}-{count + 1}.txt", count + 1
    return track
