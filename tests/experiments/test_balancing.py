"""Steps with ``balance``: the weight is measured once, stands in the mix, the path and the report, and is refused where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import losses
from pipeline.config import InputError
from pipeline.engine import balance
from pipeline.engine.source import Source
from pipeline.experiments import balancing, every_term, reading
from pipeline.experiments.planning import Planner
from pipeline.losses import LossMix
from pipeline.runs import DataSet
from tests.chains import SETTINGS
from tests.tiny import QUICK, audio_rkd, write_corpus

OWN = """
[[step]]
name = "baseline"
mix = "soft:1"
teacher = "teacher"

[[step]]
name = "weighed"
mix = "soft:1,angle:1"
teacher = "teacher"
balance = true
"""
CALL = ("own.toml", "--dataset", "urbansound8k", "--data", "tiny", *QUICK, "--device", "cpu", "--jobs", "1")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("balanced")
    write_corpus(where / "tiny")
    (where / "own.toml").write_text(OWN)
    done = audio_rkd(where, "features", "--dataset", "urbansound8k", "--data", "tiny", *QUICK)
    assert done.returncode == 0, done.stderr
    return where


@pytest.mark.slow
def test_the_weight_is_measured_once_and_is_part_of_the_mix(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = audio_rkd(world, "experiment", *CALL)
    assert done.returncode == 0, done.stderr
    notes = world / "runs" / "tiny" / "experiment-own" / "weights.json"
    (entry,) = json.loads(notes.read_text())["weights"].values()
    mix = LossMix.parse(f"soft:1,angle:{entry['weight']}")
    assert done.stdout.count(f"own/weighed-{mix.slug}") == 3 and "Time of a step" in done.stdout
    (folder,) = (world / "runs" / "tiny").glob(f"student-*/{mix.slug}")
    assert sorted(path.name for path in folder.iterdir()) == ["fold1-seed0", "fold2-seed0", "fold3-seed0"]

    monkeypatch.setattr(balance, "norms", None)  # who would measure again fails
    monkeypatch.setattr(balance, "step_times", None)
    before = notes.read_bytes()
    again = audio_rkd(world, "experiment", *CALL)
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr and notes.read_bytes() == before
    assert again.stdout.splitlines()[:20] == done.stdout.splitlines()[:20]

    notes.write_text('{"weights": {"' + next(iter(json.loads(before)["weights"])) + '": {"weight": "heavy"}}}')
    refused = audio_rkd(world, "experiment", *CALL)
    assert refused.returncode == 1 and "weights.json" in refused.stderr and len(refused.stderr.splitlines()) < 4
    notes.unlink()
    monkeypatch.undo()
    measured = audio_rkd(world, "experiment", *CALL)
    assert f"{notes.relative_to(world)}: no such file, and experiment.json is there" in measured.stderr
    assert (
        "nothing to do" in measured.stderr and json.loads(notes.read_text())["weights"] == json.loads(before)["weights"]
    )
    notes.write_bytes(before)


def test_explain_says_that_the_weight_is_measured(world: Path) -> None:
    printed = audio_rkd(world, "experiment", "own.toml", "--explain").stdout
    assert printed.count(balancing_line := "the term's is measured when its teacher is there") == 1, balancing_line


@pytest.mark.slow
def test_a_term_without_a_gradient_is_a_row_that_says_so(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs itself alone."""
    monkeypatch.setattr(balance, "gradient_norm", lambda pack, steps: 0.0 if "angle" in pack.terms else 1.0)
    (world / "other.toml").write_text(OWN)
    done = audio_rkd(world, "experiment", "other.toml", *CALL[1:])
    assert done.returncode == 0, done.stderr
    assert "no weight makes its gradient as strong" in done.stdout
    assert "SD over" in done.stdout and "other/weighed-" not in done.stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('balance = true\nmix = "soft:1"', "expected a base and one term"),
        ('balance = true\nmix = "soft:1,angle:1,area:1"', "expected a base and one term"),
        ('balance = true\nmix = "angle:1,soft:0"', "expected a base and one term"),
        ('balance = "yes"\nmix = "soft:1,angle:1"', "expected true or false"),
    ],
)
def test_what_cannot_be_balanced_is_refused(tmp_path: Path, line: str, message: str) -> None:
    (path := tmp_path / "own.toml").write_text(f'[[step]]\nname = "one"\nteacher = "teacher"\n{line}\n')
    with pytest.raises(InputError, match=message):
        reading.read(str(path))


def test_a_balanced_step_teaches_nobody(tmp_path: Path) -> None:
    text = OWN + '\n[[step]]\nname = "third"\nmix = "soft"\nteacher = "weighed"\n'
    (path := tmp_path / "own.toml").write_text(text)
    with pytest.raises(InputError, match="teaches nobody"):
        reading.read(str(path))


def test_every_term_has_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two for each loss, but for the base, and for what one training with one teacher cannot be."""
    steps = reading.read("terms").steps
    labels = [step.label for step in steps.values()]
    chains = [name for name in losses.names() if every_term.chained(name, False)]
    assert chains == ["boundary", "dirichlet", "local", "pooled", "residual"]
    recipes = {every_term.recipe(name) for name in chains}
    assert recipes == {name.partition("/")[0] for name in steps if "/" in name}  # each in its published combination
    beside = {str(step.mix): (step.teachers, step.base) for step in steps.values() if step.label == "balanced"}
    assert beside["dirichlet:1,soft:1"] == (("distribution/member",), None)
    assert beside["residual:1,soft:1"] == (("teacher",), "residual/student")
    assert beside["pooled:1,soft:1"] == beside["boundary:1,soft:1"] == (("teacher",), None)
    alone = [name for name in losses.names() if name != "soft"]
    of_margin = {step.label: step for step in steps.values() if "margin" in str(step.mix)}
    assert {step.network for step in of_margin.values()} == {"cnn2_cosine"}  # other networks have no cosines to read
    of_triplet = {
        step.label: step for step in steps.values() if str(step.mix) in ("soft:0,triplet:1", "soft:1,triplet:1")
    }
    assert dict(of_triplet["published"].settings) == {"sampler": "classes:4"} and not of_triplet["balanced"].settings
    assert labels.count("published") == len(losses.names()) - len(chains)
    assert [balancing.parts(step.mix)[1].name for step in steps.values() if step.label == "balanced"] == alone
    monkeypatch.setattr(
        every_term, "constant", lambda name, key, default: "two trainings" if key == "CHAIN" else default
    )
    assert every_term.mixes(False) == []
    assert every_term.untrained({"name": "published", "each": {"term": "all"}})["published-ce"] == (
        "needs a chain: two trainings"
    )
    assert every_term.untrained({"name": "balanced", "balance": True, "each": {"term": "all"}}) == {}


def test_a_term_that_is_balanced_without_a_teacher_is_not_timed_beside_soft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soft targets need a teacher, whom such an experiment has not."""
    path = tmp_path / "alone.toml"
    path.write_text('[[step]]\nname = "alone"\nmix = "ce:1,virtual:1"\nbalance = true\n')
    experiment = reading.read(str(path))
    run = Planner(experiment, SETTINGS, "tiny").run(experiment.steps["alone"], 0, 1, 0)[1]
    monkeypatch.setattr(balance, "step_times", lambda *_: pytest.fail("timed beside soft"))
    source = Source((), DataSet("tiny", "urbansound8k", False, (1, 2)), {}, ())
    balancing.time_steps(experiment, run, SETTINGS, source, tmp_path)
