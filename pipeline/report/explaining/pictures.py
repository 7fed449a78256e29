"""What is drawn of a comparison."""

from __future__ import annotations

from pipeline.report.explaining.results import Explained
from pipeline.report.plots import Look, Picture
from pipeline.report.plots.listening import concept_curves, listening


def of_explained(explained: Explained) -> list[Picture]:
    """What the networks listen to in some clips; and, where epochs were kept, how that came: of the first fold and seed."""
    look = Look(synthetic=explained.synthetic)
    drawn = [listening("listening", explained.drawn, look)]
    first = explained.heard[0]
    several = [
        (one.row, one.epochs, one.by_epoch)
        for one in explained.heard
        if (one.fold, one.seed) == (first.fold, first.seed) and len(one.epochs) > 1 and one.by_epoch["n_fg"]
    ]
    unique = list({row: (row, epochs, counts) for row, epochs, counts in several}.values())
    return [*drawn, concept_curves("concepts", unique, look)] if unique else drawn
