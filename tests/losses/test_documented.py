"""docs/terms.md has a row for every loss there is, and its published mix, outputs and source are those of its file."""

from __future__ import annotations

from pipeline import losses
from pipeline.losses import LossMix, library
from tests.tiny import ROOT


def table() -> dict[str, list[str]]:
    lines = (ROOT / "docs" / "terms.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row for row in rows}


def outputs(names: tuple[str, ...] | None) -> str:
    return "any" if names is None else ", ".join(names) or "–"


def test_every_term_has_its_row() -> None:
    rows = table()
    assert tuple(rows) == losses.names()
    for name, (_, _, reads, taught, published, source) in rows.items():
        mix = library.constant(name, "MIX", "")
        chain = library.constant(name, "CHAIN", "")
        assert (reads, taught) == (outputs(library.reads(name, {})), outputs(library.teacher_reads(name))), name
        assert published == f"`{mix}`" + (f" ({chain})" if chain else ""), name
        assert source == library.constant(name, "SOURCE", "").split(";")[0], name


def test_the_published_mix_of_a_file_has_its_term() -> None:
    for name in losses.names():
        assert name in {term.name for term in LossMix.parse(library.constant(name, "MIX", "")).terms}
