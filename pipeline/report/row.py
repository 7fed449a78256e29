"""A row of the report: the figures of a mix, or of the teacher, and what keeps them from being the whole truth."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.figures.statistics import Cell, Comparison, Spread
from pipeline.label_sets import measure
from pipeline.report.calibration import Calibrated
from pipeline.runs.record import OfRole

STAMP = "SYNTHETIC"


@dataclass(frozen=True)
class Key:
    """What all rows of one table share; rows of experiments may have settings of their own."""

    preset: str
    digest: str
    """Of the settings: (features, teacher, student), or (features, teacher) where there are only teachers."""
    data: str
    """Of the folds' content."""


@dataclass(frozen=True)
class Row(OfRole):
    """One mix (or the teacher): figures of its finished runs, in percent, and what is missing."""

    key: Key
    corpus: str
    synthetic: bool
    role: str
    model: str
    mix: str
    """Canonical text; "" for a teacher."""
    baseline: bool
    spread: Spread | None
    """Of the last epoch's accuracy, or mean average precision (``several``), over the runs that count (``counted``); None where none does."""
    best: float | None
    """Mean of each run's best epoch: optimistic, the held-out fold chose the epoch."""
    all_runs: float | None
    """Mean with the runs that stopped at chance, and those of a mix that trains no outputs."""
    macro_f1: float | None
    ece: float | None
    agreement: float | None
    """With the teacher, on the held-out clips."""
    parameters: int
    runs: int
    """Finished ones, whether they count or not."""
    at_chance: tuple[Cell, ...]
    """Runs no better than chance by the binomial test: they count like any other."""
    failures: tuple[str, ...]
    """fold{k}-seed{s}: what stopped it."""
    all_folds: tuple[int, ...]
    """Of the published corpus."""
    skipped: int
    """Clips of the corpus that could not be read, and are in no fold."""
    published: float | None
    comparison: Comparison | None = None
    """Less the baseline; None for the baseline, the teacher, and without a common cell."""
    p_holm: float | None = None
    compared_mixes: int = 0
    """Mixes of the table that were compared to the baseline, shown or not: what ``p_holm`` is adjusted for."""
    with_stopped: float | None = None
    """The difference to the baseline with runs that stopped, of the mix or of the baseline, at chance; None without any."""
    baseline_stopped: int = 0
    """Of those, runs of the baseline."""
    outputs_untrained: int = 0
    """Runs of a mix without a term on the outputs: they name classes by chance."""
    windows: float | None = None
    """Mean of the runs' accuracy by windows, where long files are several clips; None where they are not."""
    balanced: float | None = None
    """Mean of the runs' balanced accuracy; None where none keeps it."""
    label: str = ""
    """Of an experiment's row: its name, in place of the mix."""
    best_teacher: bool = False
    """Taught by the teacher's best epoch, which the held-out fold chose: optimistic."""
    trusted: bool = False
    """Whether a teacher does not say what it was trained on."""
    optimistic: int = 0
    """Runs whose settings were chosen by what they reach on the fold that is held out."""
    calibration: Calibrated | None = None
    nested: bool = False
    """Whether each held-out fold has settings of its own, chosen without it."""
    several: bool = False
    """Whether clips have several labels each: all figures are of the mean average precision."""
    baseline_settings: str = ""
    """The digest of the baseline's settings where they are not the row's own, as they are not of many experiments' steps."""

    @property
    def measure(self) -> str:
        """What the figures are of."""
        return measure(self.several)

    @property
    def name(self) -> str:
        kind = "teacher" if self.is_teacher else "baseline" if self.baseline else ""
        text = self.label or (self.mix or self.model) + (f" ({kind})" if kind else "")
        return f"{STAMP} {text}" if self.synthetic else text

    @property
    def partial(self) -> str:
        """Which share of the published folds the mean is over; "" where it is over all."""
        here = len(self.spread.folds) if self.spread else 0
        return f"partial ({here} of {len(self.all_folds)} folds)" if here < len(self.all_folds) else ""

    @property
    def difference_to_published(self) -> float | None:
        if self.spread is None or self.published is None:
            return None
        return self.spread.mean - self.published
