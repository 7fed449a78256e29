"""Every recipe that comes with the project: its first lines, its plan, a training in small, and the same after kills."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipeline import cache, config, experiments, runs
from pipeline.engine.missing import train
from pipeline.experiments import explanation, files, planning, reading
from pipeline.models import saved
from pipeline.report import paper
from pipeline.training import optimizer
from tests import chains, recipes
from tests.tiny import ROOT

FOLDER = Path(experiments.__file__).parent


@pytest.mark.parametrize("name", sorted({*files.names()} - {"student", "teacher"}))
def test_the_first_lines_say_what_whose_and_with_what_to_compare(name: str) -> None:
    lines = (FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    about = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    assert len(about) >= 2 and any(word in " ".join(about).lower() for word in ("published", "figures")), name
    title = files.contents(FOLDER / f"{name}.toml")["title"]
    assert title and (name.startswith("terms") or reading.read(name).title == title)  # every term: read below


@pytest.mark.parametrize(("name", "table"), [("table3", paper.TABLE3), ("table4", paper.TABLE4)])
def test_the_papers_tables_name_its_figures(name: str, table: tuple[paper.Published, ...]) -> None:
    """In their first lines, in the order of the file's mixes."""
    line = next(line for line in (FOLDER / f"{name}.toml").read_text().splitlines() if line.startswith("# Published"))
    experiment, first = reading.read(name), table[0].percent
    by_mix = {row.mix: row.percent for row in table[1:]}
    mixes = [str(step.mix) for step in experiment.last if str(step.mix) in by_mix]
    assert [float(each) for each in re.findall(r"\d\d\.\d\d", line)] == [first, *(by_mix[mix] for mix in mixes)]
    assert len(mixes) == len(by_mix) == 8


def test_a_recipe_has_its_row() -> None:
    """In docs/recipes.md."""
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    first_cells = " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("|"))
    wanted = [*recipes.names(), "survey", "terms", "table3", "table4"]
    assert [name for name in wanted if f"`{name}`" not in first_cells] == []


def test_the_rate_of_a_snapshot_falls_in_each_of_its_cycles() -> None:
    """Yang et al.: at step i of n of a cycle (lr / 2)(cos(π i / n) + 1), and the next cycle begins at lr again."""
    settings = config.read("default", ["student.lr=0.1"])
    levels, _ = planning.plan(reading.read("snapshot"), settings, "tiny", folds=(1,), seeds=(0,))
    cycles = [run for level in levels for run in level.runs]
    assert len(cycles) == 4 and sum(run.network.epochs for run in cycles) == 20
    for cycle in cycles:
        short = dataclasses.replace(cycle.network, epochs=2)
        rates = [optimizer.learning_rate(short, epoch, step, 2) for epoch in (0, 1) for step in (0, 1)]
        assert rates == pytest.approx([0.1, 0.0853553391, 0.05, 0.0146446609], rel=1e-8)
    for before, cycle in itertools.pairwise(cycles):
        assert (cycle.start, cycle.teachers) == (before.folder, (before.folder,))


@pytest.mark.slow
def test_born_again_is_ban_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe and the command, each in a folder of its own."""
    monkeypatch.chdir(tmp_path)  # and back afterwards
    both = []
    for name in ("ban", "recipe"):
        (tmp_path / name).mkdir()
        data = chains.write_source(tmp_path / name)
        if name == "ban":
            chains.go(tmp_path / name, data, generations=3)
        else:
            os.chdir(tmp_path / name)
            levels, _ = planning.plan(reading.read("born-again"), chains.SETTINGS, "tiny", folds=(1,), seeds=(0,))
            train(levels, data, **chains.HOW)
        both.append(recipes.digests(tmp_path / name))
    assert len(both[0]) == 4 and both[0] == both[1]


def test_what_learns_from_what_is_drawn() -> None:
    def drawn(name: str) -> str:
        return "\n".join(explanation.drawn(reading.read(name)))

    assert drawn("fitnets") == ("  teacher\n  ├─ teaches hinted\n  │  └─ starts student\n  └─ teaches student")
    assert drawn("snapshot").endswith("└─ teaches and starts cycle × 3, each teaches and starts the next")
    assert "is the base of assistant" in drawn("residual") and "member (seeds 0, 1, 2, 3, 4)" in drawn("distribution")
    for name in files.names():  # every step, once where it is expanded
        experiment = reading.read(name)
        text = "\n".join(explanation.drawn(experiment))
        assert [step for step in experiment.steps if step not in text] == []


def told(name: str, folds: tuple[int, ...] = (1, 2), seeds: tuple[int, ...] = (0,)) -> list[str]:
    """What ``--explain`` prints, line by line."""
    how = {"folds": folds, "seeds": seeds, "dataset": "urbansound8k", "root": Path("none")}
    return explanation.explained(reading.read(name), config.read("default"), None, **how).splitlines()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "totals"),
    [
        ("fitnets", "In all 6 runs, 100 epochs, in 3 levels"),  # 2 × (20 + 10 + 20), each behind the other
        ("assistant", "In all 8 runs, 160 epochs, in 3 levels"),  # the assistant and the direct student at once
        ("early-teacher", "In all 16 runs, 290 epochs, in 2 levels"),  # 2 × (20 + 20 + 5 + 5 × 20)
        ("snapshot", "In all 8 runs, 40 epochs, in 4 levels"),
        ("virtual", "In all 2 runs, 40 epochs, in 1 level"),
        ("survey", "In all 60 runs, 1,050 epochs, in 5 levels"),  # tolerant: a first one and four generations
    ],
)
def test_runs_epochs_and_levels_are_counted(name: str, totals: str) -> None:
    assert any(line.startswith(f"{totals}: 2 folds, 1 seed.") for line in told(name))


@pytest.mark.parametrize(
    ("folds", "words"), [("1", "1 of them is finished and is"), ("12", "2 of them are finished and are")]
)
def test_what_is_finished_is_counted(folds: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanation.runs, "finished", lambda folder: folder.name[len("fold")] in folds)
    assert any(line.endswith(f"{words} not trained again.") for line in told("virtual"))


def test_what_tells_steps_apart_is_said() -> None:
    """Settings that only one of them has, and no teacher where a mix reads none."""
    assert "    with     label_smoothing = 0.1" in told("smooth-teacher")
    patient = told("patient")
    assert patient.count("    with     augment = shift,mask,gain; mixup = 0.4; schedule = cosine") == 2
    assert patient.count("    with     schedule = cosine") == 1
    assert not any(line.startswith("    with") for line in told("assistant"))
    terms = told("terms")
    taught = [line.split()[-1] for line in terms if "─ teaches" in line]
    assert "published-ce1" not in taught and "  published-ce1" in terms and "published-hinton1+soft1" in taught
    for name, line in zip(terms, terms[2:]):
        if line.startswith("    learns   from no teacher"):
            assert name.partition(":")[0] not in taught, name


def test_an_assistant_and_its_base_answer_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the teacher's own output layer, on what both make of its embedding, over the held-out clips."""
    monkeypatch.chdir(tmp_path)
    recipes.go(tmp_path, ["residual"])
    folder = recipes.planned("residual")[1]["residual"][-1]
    record = runs.read(folder / "fold1-seed0")
    assert record.base is not None
    teacher, student, assistant = (saved.read_payload(one) for one in (record.teachers[0], record.base, record.folder))
    fold = cache.read_fold(cache.fold_path(tmp_path / "cache", "tiny", recipes.SPEC, 1))
    hits = 0
    for x, label in zip(fold.features[:, 0], fold.header.labels):
        with torch.no_grad():
            hidden = [saved.network_of(one)(torch.from_numpy(x)[None]).hidden[0] for one in (student, assistant)]
        v_s = student["adapters"]["hint@layer=hidden linear.weight"][0] @ hidden[0]
        v_a = assistant["adapters"]["residual linear.weight"][0] @ hidden[1]
        logits = teacher["state"]["linear.weight"][0] @ (v_s + v_a) + teacher["state"]["linear.bias"][0]
        hits += int(logits.argmax()) == label
    assert record.result.terms["residual"] == {"accuracy with its base": hits / len(fold.header.labels)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All recipes, trained without a stop."""
    root = tmp_path_factory.mktemp("whole")
    here = Path.cwd()
    try:
        recipes.go(root, recipes.names())
    finally:
        os.chdir(here)
    return root


@pytest.mark.slow
def test_every_recipe_comes_to_its_end(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(whole)
    for name in recipes.names():
        for row, folders in recipes.planned(name)[1].items():
            for folder in folders:
                record = runs.read(folder / "fold1-seed0")
                assert record.result.epochs and not record.result.stopped, (row, record.result)


@pytest.mark.slow
def test_killed_at_random_moments_it_comes_out_the_same(whole: Path, tmp_path: Path) -> None:
    """kill -9 at three moments, wherever that is; the same command goes on, and every bit is that of a training without a stop."""
    command = [sys.executable, "-m", "tests.recipes", str(tmp_path), *recipes.names()]
    moments = random.Random()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for _ in range(3):
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        before = len(list(tmp_path.rglob("result.json")))
        deadline = time.monotonic() + 60
        more = moments.randrange(2, 12)
        while time.monotonic() < deadline and len(list(tmp_path.rglob("result.json"))) < before + more:
            assert process.poll() is None or process.returncode == 0
            time.sleep(0.02)
        time.sleep(moments.random())
        process.kill()
        process.wait()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stderr=subprocess.DEVNULL)
    expected, resumed = recipes.digests(whole), recipes.digests(tmp_path)
    assert resumed.keys() == expected.keys()
    assert [folder for folder in resumed if resumed[folder] != expected[folder]] == []


def test_a_patient_teacher_runs_on_the_very_input_and_a_fixed_one_is_stored() -> None:
    """Beyer et al.: KL alone, the same changed and mixed view for both, ten times as long."""
    runs_by_step = {run.step: run for level in recipes.planned("patient")[0] for run in level.runs}
    experiment = reading.read("patient")
    settings = {
        name: planning.network_of(experiment.steps[name], config.read("default"))
        for name in ("patient", "short", "fixed")
    }
    usual = config.read("default").student.epochs
    assert [settings[name].epochs for name in settings] == [10 * usual, usual, 10 * usual]
    assert {str(step.mix) for step in experiment.last} == {"hinton:1@T=1,soft:0"}
    assert all(settings[name].mixup and settings[name].augment != "none" for name in ("patient", "short"))
    assert {settings[name].schedule for name in settings} == {"cosine"}
    changed = {name: run.changed_inputs for name, run in runs_by_step.items() if run.teachers}
    assert changed == {"patient": True, "fixed": False}  # in small, short is patient
