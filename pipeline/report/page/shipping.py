"""Students of all folds, which ``final`` ships: below which probability their answer is none of the classes, and what that refuses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path

from pipeline import losses, runs
from pipeline.report.html import table_html
from pipeline.report.table import Column, Table, number
from pipeline.runs import Record
from pipeline.runs import refusal as refusals
from pipeline.runs.damage import spared
from pipeline.runs.held_out import of_all_folds
from pipeline.runs.refusal import Refusal

#: The element that the page's links lead to.
ID = "shipped"

TITLE = 'Students to ship: "none of these"'


@dataclass(frozen=True)
class Shipped:
    """A student of all folds and its threshold."""

    record: Record
    refusal: Refusal

    @property
    def name(self) -> str:
        record = self.record
        return f"{record.mix_text}, preset {record.preset}, digest {record.digest}, seed {record.seed}"


def shipped(finals_root: Path, corpus: str, mixes: Iterable[str] | None = None) -> list[Shipped]:
    """Those of a corpus that have a threshold, of some ``mixes`` or of all; damaged ones are left out, and told at the command's end."""
    wanted = None if mixes is None else {str(losses.LossMix.parse(mix)) for mix in mixes}
    records = [one for one in runs.find(finals_root, corpus, spare=True) if one.is_student and of_all_folds(one)]
    return [
        Shipped(record, refusal)
        for record in records
        if wanted is None or record.mix_text in wanted
        if (refusal := spared(partial(refusals.read, record.folder)))
    ]


def section(students: Sequence[Shipped]) -> str:
    """The page's part; "" where there are none."""
    if not students:
        return ""
    parts = "".join(
        f"<h3>{escape(one.name)}</h3><p>{escape(threshold_text(one.refusal))}</p>{table_html(refused_table(one.refusal))}"
        f'<p class="muted"><code>{escape(one.record.folder.as_posix())}</code></p>'
        for one in students
    )
    note = (
        "Trained on all folds (make final), so nothing is measured on their own clips: the tables above are of the held-out runs. "
        "Noise and made-up sounds: by the student itself; a class never heard: by a student that was trained without it."
    )
    return f'<section id="{ID}"><h2>{escape(TITLE)}</h2><p class="note">{note}</p>{parts}</section>'


def threshold_text(refusal: Refusal) -> str:
    return f"An answer whose largest probability is below {refusal.threshold:.4f} is none of these. {refusal.what_it_costs}"


def refused_table(refusal: Refusal) -> Table:
    """A row for each kind of sound that is none of the classes."""
    columns = (
        Column("", lambda item: item[0], "Sound"),
        Column("", lambda item: int(item[1]["clips"]), refusal.kind.capitalize()),
        Column("", lambda item: 100 * item[1]["refused"], "Refused", "%", lambda value: number(value, ".1f")),
        Column("", lambda item: item[1].get("auroc"), "AUROC", format=lambda value: number(value, ".3f")),
    )
    return Table.build("What it refuses of what is none of the classes.", columns, refusal.detects.items())
