"""What experiments measured of their networks, as parts of the page."""

from __future__ import annotations

from html import escape

from pipeline.report import few_shot, other_classes, plots
from pipeline.report.html import table_html
from pipeline.report.kept import Kept
from pipeline.report.page.pictures import Gallery
from pipeline.report.plots import Picture


def title(kept: Kept) -> str:
    return f"experiment {kept.experiment}: {kept.title}"


def section(kept: Kept, index: int, gallery: Gallery) -> str:
    """Pictures and tables of one, the ``index``-th."""
    drawn = "".join(gallery.figure(picture, kept) for picture in pictures(kept))
    tables = "".join(map(table_html, kept.tables))
    return f'<section id="measured{index}"><h2>{escape(title(kept))}</h2><div class="figures">{drawn}</div>{tables}</section>'


def pictures(kept: Kept) -> list[Picture]:
    """Of few-shot accuracies one for each kind of episodes; of other classes the accuracies by overlap."""
    look = plots.Look(synthetic=kept.synthetic)
    if kept.title == few_shot.TITLE:
        kinds = dict.fromkeys(row["episodes_of"] for row in kept.rows[0])
        return [
            plots.interval_points(
                f"few-shot-{number}",
                [
                    (f"{row['row']}, {kind}", row["accuracy_percent"], row["half_width_percent"])
                    for row in kept.rows[0]
                    if row["episodes_of"] == kind and row["accuracy_percent"] is not None
                ],
                look,
            )
            for number, kind in enumerate(kinds, 1)
        ]
    if kept.title != other_classes.TITLE:
        return []
    by_method: dict[str, dict[float, float]] = {}
    for row in (row for rows in kept.rows for row in rows if "auc_lambda_training_percent" in row):
        if row["overlap_percent"] is not None and row["accuracy_percent"] is not None:
            by_method.setdefault(row["method"], {})[row["overlap_percent"]] = row["accuracy_percent"]
    return [plots.overlap_lines("overlap", by_method, look)] if by_method else []
