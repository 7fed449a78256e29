"""Clips with several labels each: who takes them, and the figure that stands where accuracy stands.

In a corpus of such clips the number that is a clip's label is that of its set of classes among ``label_sets``, tuples of numbers of
classes; () is a corpus of one label a clip. Whoever is not listed here refuses it in a line, before anything is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    import numpy as np

LabelSets = tuple[tuple[int, ...], ...]

#: What stands between the labels of a clip.
BETWEEN = ";"

#: The commands that take clips with several labels; any other refuses them.
COMMANDS = (
    *("archive", "check", "data", "demo", "doctor", "prune", "settings", "verify"),  # these look at files alone
    *(
        "features",
        "teacher",
        "distill",
        "rerun",
        "predict",
        "export",
        "final",
        "search",
        "experiment",
        "ban",
        "inspect",
    ),
    *("compare", "follow", "report", "runs", "status", "noise", "cost", "ensemble", "teacher-file", "web", "calibrate"),
)

#: The settings of a training that clips with several labels leave at this value, and why.
SETTINGS = {
    "classes": ("", "which classes a clip has decides what is left of it"),
    "label_noise": (0.0, "it takes one class for another"),
    "label_noise_fixed": (0.0, "it takes one class for another"),
    "sampler": ("shuffle", "it draws clips by their one class"),
    "unlabelled": (0.0, "it hides a share of the clips of each class"),
    "unlabelled_threshold": (0.0, "it asks how sure a softmax is"),
    "unlabelled_per_class": (0, "it sorts clips by their one class"),
}

#: Names of the command that runs; "" where none does.
COMMAND: ContextVar[str] = ContextVar("command", default="")


@contextmanager
def commanded(name: str) -> Iterator[None]:
    """While the block runs, it is the command ``name``."""
    token = COMMAND.set(name)
    try:
        yield
    finally:
        COMMAND.reset(token)


def require(where: object) -> None:
    """``InputError`` where the command that runs does not take ``where``, of clips with several labels."""
    command = COMMAND.get()
    if command and command not in COMMANDS:
        raise InputError(
            f"{where}: clips with several labels each, and {command} takes clips of one label; expected a corpus of one label a clip, or "
            "a command that takes several (docs/corpora.md)"
        )


def measure(several: bool) -> str:
    """What is said of runs on clips of one label, or of ``several``."""
    return "mean average precision" if several else "accuracy"


def named(classes: Sequence[str], label_sets: LabelSets) -> tuple[str, ...]:
    """By label what it is called: a class, or several with semicolons between."""
    names = (f"{BETWEEN} ".join(classes[number] for number in numbers) for numbers in label_sets)
    return tuple(names) if label_sets else tuple(classes)


def multi_hot(label_sets: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """(sets, classes) float32: 1 for each class of a set."""
    import numpy as np  # the command line starts without it

    targets = np.zeros((len(label_sets), classes), np.float32)
    for row, numbers in enumerate(label_sets):
        targets[row, list(numbers)] = 1.0
    return targets


def average_precisions(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Of each class the average precision Σ_n (R_n − R_{n−1}) P_n over the thresholds of its scores, as scikit-learn has it.

    ``targets`` (clips, classes) 1 where a clip has a class, ``scores`` (clips, classes), the higher the surer: (classes,) float64, NaN of
    a class that no clip has. Any increasing function of the scores gives the same. Scores that are not finite give NaN.
    """
    import numpy as np
    from sklearn.metrics import average_precision_score  # a second

    each = np.full(targets.shape[1], np.nan)
    for place in np.flatnonzero(targets.sum(0) > 0):
        if np.isfinite(scores[:, place]).all():
            each[place] = average_precision_score(targets[:, place] > 0, scores[:, place])
    return each


def mean_average_precision(targets: np.ndarray, scores: np.ndarray) -> float:
    """Mean of ``average_precisions`` over the classes that some clip has; NaN where one of these is, or there is none."""
    there = targets.sum(0) > 0
    return float(average_precisions(targets, scores)[there].mean()) if there.any() else float("nan")


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−z)) in float64: of each class by itself how likely it is. Neither overflows nor warns; NaN stays NaN."""
    import numpy as np

    with np.errstate(invalid="ignore"):  # a run that stopped
        probabilities: np.ndarray = np.exp(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))
    return probabilities


def mean_log_odds(logits: np.ndarray) -> np.ndarray:
    """log p − log (1 − p), p the mean over the first axis of σ(logits): (members, ...) → (...) float64, so that a sigmoid gives p back.

    A single member keeps its logits.
    """
    import numpy as np

    values = logits.astype(np.float64)
    if len(values) == 1:
        only: np.ndarray = values[0]
        return only
    with np.errstate(invalid="ignore"):  # a run that stopped
        yes, no = (np.logaddexp.reduce(-np.logaddexp(0.0, sign * values), axis=0) for sign in (-1, 1))
    odds: np.ndarray = yes - no
    return odds


def prevalence(targets: np.ndarray) -> float:
    """The mean share of clips over the classes that some clip has: what scores that know nothing come to, as clips grow many."""
    shares = (targets > 0).mean(0)
    return float(shares[shares > 0].mean()) if shares.any() else float("nan")
