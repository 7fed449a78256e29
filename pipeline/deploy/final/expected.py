"""What accuracy (of clips with several labels: mean average precision) to expect of a student that was trained on all folds: that of held-out runs of the same settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import runs
from pipeline.config import InputError
from pipeline.engine.source import Source
from pipeline.figures import statistics
from pipeline.report.aggregation import percents, ratio
from pipeline.runs import Record
from pipeline.runs.planned import PlannedRun


@dataclass(frozen=True)
class Expected:
    """Percent, of the clean clips of held-out folds."""

    score: float
    """Accuracy; of clips with several labels the mean average precision."""
    low: float | None
    """Ends of the 95 % interval over folds, corrected for overlapping training sets, not cut at 0 and 100; None of a single fold."""
    high: float | None
    runs: int
    folds: int
    balanced: float | None
    """Balanced accuracy, mean over the folds' means; None where none is kept."""
    several: bool = False
    """Whether clips have several labels."""

    @property
    def within(self) -> str:
        """The interval in words, "" where there is none. It ends at 0 and 100 %: of few folds Student's t goes beyond what a share can be."""
        if self.low is None or self.high is None:
            return ""
        return f", 95 % interval {max(self.low, 0.0):.2f} to {min(self.high, 100.0):.2f}"

    def told(self) -> dict[str, float | int | None]:
        """For files."""
        interval = {"low": self.low, "high": self.high, "runs": self.runs, "folds": self.folds}
        return (
            {"map": self.score, **interval}
            if self.several
            else {"accuracy": self.score, **interval, "balanced": self.balanced}
        )


def held_out_runs(student: PlannedRun, source: Source, root: Path, command: str) -> list[Record]:
    """The finished students with the settings and mix of ``student``, each tested on its held-out fold.

    ``InputError`` where there is none; ``command`` trains them.
    """
    digests = {int(fold): digest for fold, digest in source.digests.items()}
    alike = [
        record
        for record in runs.find(root, student.corpus)
        if record.is_student
        and record.digest == student.digest
        and record.mix_text == str(student.mix)
        and record.result.counts
    ]
    if not alike:
        raise InputError(
            f"no finished student of {student.mix} with these settings (digest {student.digest}) in {root / student.corpus}: what accuracy to "
            f"expect is known from held-out folds alone; train them first: {command}"
        )
    for record in alike:
        if reason := runs.outdated(record, data=digests, teachers=True):
            raise InputError(
                f"{record.folder} {reason}; expected held-out runs of the clips as they are: train them again"
            )
    return alike


def expected(records: Sequence[Record]) -> Expected:
    means = list(statistics.by_fold(percents(records, "score")).values())
    test = statistics.corrected_t_test(means, ratio(records[0]))
    balanced = percents(records, "balanced_accuracy")
    return Expected(
        float(np.mean(means)),
        test.low,
        test.high,
        len(records),
        len(means),
        float(np.mean(list(statistics.by_fold(balanced).values()))) if balanced else None,
        records[0].several_labels,
    )
