"""How a run came out, typed: what ``result.json`` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Of a run that has begun and has no ``result.json``.
UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Result:
    """How a run came out. Shares are in [0, 1], of the held-out fold's clean clips; None: not kept, or there is none."""

    status: str
    """One of ``folder.STATUSES``, or ``UNFINISHED``."""
    accuracy: float | None = None
    """Of the last epoch; None for a run that stopped."""
    best_accuracy: float | None = None
    """The highest of an epoch: optimistic, the held-out fold chose it."""
    best_epoch: int | None = None
    epochs: int = 0
    test_clips: int = 0
    parameters: int = 0
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    ece: float | None = None
    nll: float | None = None
    """In nats."""
    agreement: float | None = None
    """With the teacher."""
    seconds: float | None = None
    """Of the pack's training."""
    runs_in_pack: int | None = None
    failure: str = ""
    finished: str = ""
    """When, in UTC."""
    weights: str = ""
    """Digest of the network's weights."""
    terms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Key of a term → what its loss says of the training rows after the last epoch, by name."""
    window_accuracy: float | None = None
    """Where long files are several clips: the share of these; the other figures are of the files, by the mean over their windows."""
    test_windows: int | None = None
    map: float | None = None
    """Of clips with several labels: the mean average precision of the last epoch, over the classes that a held-out clip has; no
    accuracy then, and none of the figures that are of one label."""
    best_map: float | None = None
    """The highest of an epoch: optimistic, the held-out fold chose it."""
    chance: float | None = None
    """Of clips with several labels: what scores that know nothing come to, the mean share of the held-out clips that have a class."""
    overflowed: bool = False
    """The outputs were not finite. Earlier versions kept such runs as "did not train", without a finite nll."""

    @property
    def failed(self) -> bool:
        return self.status == "failed"

    @property
    def stopped(self) -> bool:
        """Whether there is no result: the loss or the outputs were not finite."""
        return self.failed or self.overflowed

    @property
    def at_chance(self) -> bool:
        """Whether it is no better than chance by the binomial test (``figures.evaluation.above_chance``)."""
        return self.status == "did not train"

    @property
    def trained(self) -> bool:
        return self.status == "trained"

    @property
    def outputs_untrained(self) -> bool:
        """Whether no term of the mix reads the outputs, so that accuracy says nothing of it."""
        return self.status == "outputs untrained"

    @property
    def counts(self) -> bool:
        """Whether means and tests are over it: it has an accuracy that says something, be it that of chance."""
        return (self.trained or self.at_chance) and not self.stopped

    @property
    def score(self) -> float | None:
        """What runs are told apart by: accuracy, or where clips have several labels the mean average precision."""
        return self.accuracy if self.map is None else self.map

    @property
    def best_score(self) -> float | None:
        """The same of the best epoch: optimistic."""
        return self.best_accuracy if self.best_map is None else self.best_map

    @property
    def percent(self) -> float | None:
        return None if self.score is None else 100 * self.score
