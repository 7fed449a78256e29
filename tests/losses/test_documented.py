"""docs/terms.md has a row for every loss there is, and its published mix, outputs and source are those of its file."""

from __future__ import annotations

import pytest

from pipeline import losses
from pipeline.config import InputError
from pipeline.experiments import reading
from pipeline.losses import LossMix, library
from tests.tiny import ROOT


def table() -> dict[str, list[str]]:
    lines = (ROOT / "docs" / "terms.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row for row in rows}


def outputs(names: tuple[str, ...] | None) -> str:
    return "any" if names is None else ", ".join(names) or "–"


def test_every_term_has_its_row() -> None:
    rows = {name: row for name, row in table().items() if "@" not in name}
    assert tuple(rows) == losses.names()
    for name, (_, _, reads, taught, published, source) in rows.items():
        mix = library.constant(name, "MIX", "")
        chain, recipe = (library.constant(name, word, "") for word in ("CHAIN", "RECIPE"))
        assert (reads, taught) == (outputs(library.reads(name, {})), outputs(library.teacher_reads(name))), name
        assert published == f"`{mix}`" + (f" ({chain}: recipe `{recipe}`)" if chain else ""), name
        assert source == library.constant(name, "SOURCE", "").split(";")[0], name


def test_every_other_published_form_of_a_term_has_its_row() -> None:
    """Behind the loss's own, by the options that make it another method."""
    names = [*table()]
    rows = {name: row for name, row in table().items() if "@" in name}
    forms = {mix: (name, source) for name in losses.names() for mix, source in library.forms(name).items()}
    assert {row[4].strip("`") for row in rows.values()} == set(forms) and len(rows) == len(forms)
    for key, (_, _, reads, taught, published, source) in rows.items():
        name, whose = forms[published.strip("`")]
        (term,) = (term for term in LossMix.parse(published.strip("`")).terms if term.name == name)
        assert key.split("@")[0] == name and set(key.split("@")) <= set(term.key.split("@")), key
        assert (reads, taught) == (
            outputs(library.reads(name, term.arguments)),
            outputs(library.teacher_reads(name, term.arguments)),
        ), key
        assert source == whose and name in names[: names.index(key)] and names[names.index(key) - 1].startswith(name)


def test_the_published_mix_of_a_file_has_its_term() -> None:
    for name in losses.names():
        assert name in {term.name for term in LossMix.parse(library.constant(name, "MIX", "")).terms}


def test_a_chain_is_found_by_the_name_of_its_recipe() -> None:
    """In the docs' list of recipes, in ``--explain``, among the rows of ``experiment terms``, and in the refusal of a term alone."""
    chains = {
        name: library.constant(name, "RECIPE", "") for name in losses.names() if library.constant(name, "CHAIN", "")
    }
    recipes = (ROOT / "docs" / "recipes.md").read_text()
    rows = reading.read("terms")
    assert chains["boundary"] == "boundary-first" and len(chains) == 5
    for name, recipe in chains.items():
        assert f"`{recipe}`" in recipes
        mix = LossMix.parse(library.constant(name, "MIX", ""))
        assert f"(experiment {recipe})" in mix.explain()
        assert [step.name for step in rows.last if step.name.startswith(f"{recipe}/")], (name, recipe)
    with pytest.raises(InputError, match="whose misses it learns: run experiment residual, or choose other terms"):
        LossMix.parse("residual,soft:0").require_batch(8)
