"""The big table of terms: which terms are in which of its steps, what is left out of it, and what ``each.term`` and ``apart`` refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import config, losses
from pipeline.config import InputError
from pipeline.experiments import every_term, planning, reading
from pipeline.experiments.balancing import near_measured
from pipeline.experiments.steps import Step
from pipeline.losses import LossMix, library


def test_every_loss_is_a_vector_term_or_asks_for_a_single_teacher() -> None:
    vectors, single = every_term.terms_of("vectors"), every_term.terms_of("single")
    assert sorted((*vectors, *single)) == sorted(losses.names()) == sorted(every_term.terms_of("all"))
    assert {"hint", "attention", "review", "factor", "reuse", "residual"} <= set(single)
    assert {"ce", "soft", "angle", "decoupled", "contrast", "dirichlet", "pooled", "direction"} <= set(vectors)
    assert every_term.terms_of(["hint", "angle"]) == ("hint", "angle")
    assert every_term.terms_of({"of": ["hint", "angle"], "without": ["hint"]}) == ("angle",)


def test_the_table_has_every_term_once_beside_soft_and_the_named_ones_of_three_seeds() -> None:
    experiment = reading.read("terms-strong")
    balanced = [step for step in experiment.steps.values() if step.balance and step.label != "balanced form"]
    terms = [term.name for step in balanced for term in step.mix.terms if term.name != "soft"]
    assert len(terms) == len(set(terms)) and set(losses.names()) - set(terms) == {"soft"}
    named = [step for step in balanced if step.seeds == (0, 1, 2)]
    assert len(named) == 8 and {step.seeds for step in balanced if step not in named} == {(0,)}
    three = {str(step.mix) for step in experiment.last if step.seeds == (0, 1, 2) and not step.balance}
    assert three == {"ce:1", "soft:1", "hinton:1,soft:1", "angle:40,area:20,soft:1"}
    for step in balanced:
        alone = any(every_term.single(term.name) for term in step.mix.terms)
        recipe = any(every_term.recipe(term.name) for term in step.mix.terms)
        assert recipe or step.teachers == (("first",) if alone else ("teachers",))
    settings = config.read("strong")
    planning.check(experiment, settings)
    assert experiment.preset == "strong" and planning.network_of(balanced[0], settings) == settings.student
    published = [step for step in experiment.steps.values() if step.apart]
    assert {step.apart for step in published} == {3.0} and all(not step.balance for step in published)
    of_forms = [
        {str(one.mix) for one in experiment.last if one.label == f"{kind} form"} for kind in ("balanced", "published")
    ]
    forms = {mix for name in losses.names() for mix in library.forms(name)} - {"reuse:1@form=simkd,soft:0"}
    assert of_forms[1] == {str(LossMix.parse(mix)) for mix in forms} and len(of_forms[0]) == len(forms) == 5
    for step in experiment.steps.values():
        if step.label.endswith(" form"):
            assert step.teachers == ("teachers",) and step.seeds == (0,)


def test_other_forms_of_a_term_are_rows_of_their_own() -> None:
    """As published, and beside soft with the options alone; in the network that a form needs, where soft can stand in it alone."""
    experiment = reading.read("terms")
    published = {str(step.mix): step for step in experiment.steps.values() if step.label == "published form"}
    balanced = {str(step.mix) for step in experiment.steps.values() if step.label == "balanced form"}
    assert set(published) == {str(LossMix.parse(mix)) for name in losses.names() for mix in library.forms(name)}
    assert balanced == {
        "decoupled:1@T=1@form=nkd,soft:1",
        "hinton:1@T=2@logits=standard,soft:1",
        "hinton:1@T=2@weigh=wsld,soft:1",
        "hinton:1@T=learned,soft:1",
        "projector:1@form=log,soft:1",
    }
    assert planning.network_of(published["reuse:1@form=simkd,soft:0"], config.read("default")).model == "cnn2_reuse"
    (row, why) = next((row, why) for row, why in experiment.untrained.items() if "simkd" in row)
    assert row == "balanced form-reuse@form=simkd" and "soft alone does not give it" in why
    assert every_term.terms_of("forms") == ("decoupled", "hinton", "projector", "reuse")


def step_of(mix: str, apart: float = 3.0) -> Step:
    return Step("own", "published", "published", LossMix.parse(mix), apart=apart)


@pytest.mark.parametrize(
    ("mix", "trained"),
    [
        ("ce:1,angle:10", False),
        ("ce:1,angle:30", False),
        ("ce:1,angle:30.1", True),
        ("ce:1,angle:3.34", False),
        ("ce:1,angle:3.3", True),
        ("ce:1,angle:40..1", True),
        ("ce:1,angle:10,hint:5", False),
        ("ce:1,angle:10,hint:7", True),
        ("ce:1,area:7", True),  # nothing was measured of it
        ("ce:1,soft:1", True),
    ],
)
def test_a_published_weight_near_the_measured_one_is_not_trained(mix: str, trained: bool) -> None:
    assert (not near_measured(step_of(mix), {"angle": 10.0, "hint": 2.0})) == trained


def test_why_it_is_not_trained() -> None:
    told = near_measured(step_of("ce:1,angle:20,hint:5"), {"angle": 10.0, "hint": 2.0})
    assert told == "20 is within 3 times the measured 10 of angle, and 5 is within 3 times the measured 2 of hint"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ('each.term = "every"', "each.term = 'every': expected 'all', 'vectors', 'single'"),
        ("each.term = 3", "each.term = 3: expected 'all'"),
        ('each.term = ["angel"]', "unknown loss 'angel', did you mean 'angle'"),
        ("each.term = []", "no loss is left"),
        ('each.term = {of = ["angle"], without = ["angle"]}', "no loss is left"),
        ('each.term = {of = "all", but = ["angle"]}', "expected 'all'"),
        ('each.term = ["dirichlet"]\nbalance = false', ""),
        ('each.term = "all"\neach.mix = ["ce"]', "no each.mix beside it"),
        ('mix = "ce:1,soft:1"\napart = 1', "apart = 1: expected a number above 1"),
        ('mix = "ce:1,soft:1"\napart = "3"', "apart = '3'"),
        ('mix = "ce:1,soft:1"\napart = true', "apart = True"),
        ('mix = "soft:1,angle:1"\nbalance = true\napart = 3', "in a step without balance"),
    ],
)
def test_wrong_fields_are_one_line(tmp_path: Path, fields: str, message: str) -> None:
    (path := tmp_path / "own.toml").write_text(f'[[step]]\nname = "own"\nteacher = "teacher"\n{fields}\n')
    if not message:
        message = "chain|no step|each.term"
    with pytest.raises(InputError, match=message.replace("[", r"\[")) as error:
        reading.read(str(path))
    assert "\n" not in str(error.value)
