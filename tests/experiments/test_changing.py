"""Steps changed from the command line, and rows that data of few classes cannot give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

import cli
from pipeline import config
from pipeline.commands import experiment as command
from pipeline.config import InputError
from pipeline.experiments import adapters, balancing
from pipeline.experiments.changing import changed, fitted, runnable, split
from pipeline.experiments.planning import plan
from pipeline.experiments.reading import read

SETTINGS = config.read()


def test_a_setting_of_a_step_is_its_own_and_of_all_steps_of_one_each() -> None:
    tables, steps = split(["student.lr=0.5", "step.triplets.batch=10", "step.student.sampler=classes:2"])
    assert tables == ("student.lr=0.5",)
    experiment = changed(read("metric"), steps)
    batches = {name: dict(step.settings).get("batch") for name, step in experiment.steps.items()}
    assert batches.pop("triplets") == 10 and set(batches.values()) == {40} and len(batches) == 2
    samplers = [dict(step.settings)["sampler"] for name, step in experiment.steps.items() if name != "triplets"]
    assert samplers == ["classes:2", "classes:2"]
    before, after = (plan(one, SETTINGS, "own", folds=(1,), seeds=(0,))[0] for one in (read("metric"), experiment))
    assert {run.folder for level in before for run in level.runs}.isdisjoint(
        {run.folder for level in after for run in level.runs}
    )


def test_a_mix_of_an_included_step_is_changed_by_its_full_name() -> None:
    experiment = changed(read("survey"), ["step.tolerant/generation 0.mix=ce:0.9,tolerance:0.1@K=2"])
    assert str(experiment.steps["tolerant/generation 0"].mix) == "ce:0.9,tolerance:0.1@K=2"
    assert changed(read("survey"), []) == read("survey")


def test_what_the_steps_of_one_each_differ_in_is_not_made_one_training_several_times() -> None:
    """Nine steps called classes0_50_1 to _3 would be three trainings, three times each, and count as nine runs."""
    with pytest.raises(
        InputError, match=r"1-shot is 12 steps, and would be one training twice; expected one of 1-shot-dist"
    ):
        changed(read("fewshot"), ["step.1-shot.classes=0%:60%@1"])
    one = "1-shot-distance50+proto1+soft0-classes0_50_1"
    changes = [f"step.{one}.lr=0.1", "step.1-shot.lr=0.2", f"step.{one}.classes=0%:60%@1"]
    rates = {dict(step.settings)["lr"] for step in changed(read("fewshot"), changes).steps.values()}
    assert rates == {0.2, 0.001}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("step.nobody.batch=4", "--set step.nobody.batch=4: no step 'nobody'; expected one of triplets, student"),
        ("step.triplet.batch=4", "did you mean 'triplets'"),
        ("step.triplets.bach=4", "unknown field 'bach', did you mean 'batch'?"),
        ("step.triplets.batch=x", "batch = 'x': expected int"),
        ("step.triplets.batch=0", "batch = 0"),
        ("step.triplets.mix=angel", "did you mean 'angle'"),
        ("step.student.mix=soft", "student is 2 steps, and would be one mix twice; expected one of student-"),
        ("step.triplets", "expected step.STEP.KEY=VALUE, for example step.student.batch=16"),
        ("step.batch=4", "expected step.STEP.KEY=VALUE"),
        ("step.triplets.teacher=x", "unknown field 'teacher'"),
        ("step.triplets.mix=soft", "learns from a teacher"),
    ],
)
def test_what_no_step_is_or_has_is_one_line(override: str, words: str) -> None:
    done = CliRunner().invoke(cli.main, ["experiment", "metric", "--explain", "--set", override])
    assert done.exit_code == 1, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and words in line, line


def test_rows_that_few_classes_cannot_give_are_left_out_alone() -> None:
    survey = read("survey")
    left = runnable(survey, SETTINGS, 3)
    (row,) = left.untrained
    assert row == "survey/tolerant/generation" and "tolerance@K=3" in left.untrained[row]
    assert left.untrained[row].startswith("tolerant/generation 0: ")
    gone = {step.name for step in survey.last} - {step.name for step in left.last}
    assert gone == {"tolerant/generation"} and not any("tolerant" in name for name in left.steps)
    rows = plan(left, SETTINGS, "own", folds=(1,), seeds=(0,))[1]
    assert len(rows) == len(survey.last) - 1 and set(rows) <= {f"survey/{step.name}" for step in survey.last}
    assert runnable(survey, SETTINGS, 10) == survey
    remedied = changed(survey, ["step.tolerant/generation 0.mix=ce:0.9,tolerance:0.1@K=3"])
    assert runnable(remedied, SETTINGS, 3) == remedied
    for name in ("tolerant", "metric"):  # nothing is left: its error is said by whoever trains
        assert runnable(read(name), SETTINGS, 3) == read(name)


def test_a_row_whose_adapter_is_larger_than_its_student_is_left_out_alone() -> None:
    """Only where the student is small, and only that row: attention has no adapter, and other rows' are smaller."""
    experiment, shape = read("metric-learning"), SETTINGS.features.shape
    assert runnable(experiment, SETTINGS, 10, shape) is experiment
    tiny = config.read("default", ["student.model=tiny"])
    left = runnable(experiment, tiny, 10, shape)
    ((row, why),) = left.untrained.items()
    assert "student+128" in row and "hint" in row and row.startswith("metric-learning/student-")
    assert why.startswith("hint@layer=embedding: its adapter would have 32,768 weights, and the student tiny+128 has ")
    assert why.endswith("expected no more than the student: compare a narrower layer, for example @layer=hidden")
    gone = experiment.steps.keys() - left.steps.keys()
    assert gone == {row.removeprefix("metric-learning/")}
    with pytest.raises(InputError, match="its adapter would have 32,768 weights"):  # as whoever trains it refuses it
        step = experiment.steps[gone.pop()]
        adapters.require_small(step, experiment, tiny, [*"abcdefghij"], shape)


CHAIN = """
[[step]]
name = "base"
mix = "ce"
network = "teacher"
[[step]]
name = "hinted"
mix = "soft:0,angle:1,hint:1@layer=embedding"
teacher = "base"
network = "student+128"
[[step]]
name = "after"
mix = "soft:0,angle:1"
teacher = "hinted"
[[step]]
name = "plain"
mix = "soft"
teacher = "base"
"""


def test_without_the_data_explain_leaves_out_what_would_not_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain behind such a step is left out too, and its neighbour keeps the name that it has beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(CHAIN)

    def lines(*options: str) -> list[str]:
        done = CliRunner().invoke(cli.main, ["experiment", "mine.toml", "--explain", *options])
        assert done.exit_code == 0, done.stderr
        return done.stdout.splitlines()

    for dataset, folds in (("urbansound8k", 10), ("cifar100", 1)):
        whole, left = lines("--dataset", dataset), lines("--dataset", dataset, "--set", "student.model=tiny")
        assert "Rows of the report: mine/after, mine/plain." in whole and f"In all {4 * folds} runs" in "".join(whole)
        assert "Row of the report: mine/plain." in left and f"In all {2 * folds} runs" in "".join(left)
        (why,) = (line for line in left if line.startswith("Not trained: "))
        assert why.startswith("Not trained: mine/after: hinted: hint@layer=embedding: its adapter would have 32,768 ")


def test_what_is_left_out_is_said_before_teachers_are_trained_for_weights(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def balanced(*_args: object, **_how: object) -> None:
        assert "not trained: survey/a: too large\n" in capsys.readouterr().err
        raise InputError("looked")

    monkeypatch.setattr(balancing, "balanced", balanced)
    left = replace(read("survey"), untrained={"survey/a": "too large"})
    with pytest.raises(InputError, match="looked"):
        command.train_and_print(left, SETTINGS, SimpleNamespace(name="own"), {"trust": False}, None, {})


def test_a_batch_of_whole_classes_follows_data_that_have_fewer() -> None:
    experiment = read("metric-learning")
    four = fitted(experiment, SETTINGS, 4)
    batches = {name: dict(step.settings)["batch"] for name, step in four.steps.items()}
    assert {batches.pop(name) for name in list(batches) if "half" in name} == {16}  # two classes of eight clips
    assert set(batches.values()) == {20}  # four of five
    assert runnable(four, SETTINGS, 4) is four and four.untrained == {}
    assert [note.partition(":")[0] for note in four.notes] == [
        "batch = 20 in place of 40 in triplets, generation, student",
        "batch = 16 in place of 40 in triplets on half, half",
    ]
    assert fitted(experiment, SETTINGS, 10) == experiment and fitted(read("terms"), SETTINGS, 4) == read("terms")
    eight = fitted(experiment, SETTINGS, 8)
    assert {dict(step.settings)["batch"] for step in eight.steps.values()} == {40, 32} and len(eight.notes) == 1
    set_by_hand = fitted(changed(experiment, ["step.student.batch=10", "step.half.sampler=classes:4"]), SETTINGS, 4)
    of_student = {
        dict(step.settings)["batch"] for name, step in set_by_hand.steps.items() if name.startswith("student")
    }
    assert of_student == {10} and {
        dict(step.settings)["batch"] for name, step in set_by_hand.steps.items() if name.startswith("half")
    } == {8}
    too_large = fitted(changed(experiment, ["step.triplets.batch=40"]), SETTINGS, 4)
    assert dict(too_large.steps["triplets"].settings)["batch"] == 40  # it is refused where it is trained


def test_what_is_left_out_keeps_no_row_of_a_teacher_that_nobody_needs() -> None:
    metric = read("metric")
    of_two = changed(metric, ["step.triplets.sampler=classes:20"])
    assert runnable(of_two, SETTINGS, 3) == of_two  # its students still need eight classes
    with pytest.raises(InputError, match="no step"):
        changed(metric, ["step.x.lr=1"])


def test_settings_that_go_with_each_other_are_changed_together() -> None:
    """In any order; one alone is refused with its name."""
    shown = ["step.1-shot.sampler=episode:4,1,2", "step.1-shot.batch=12"]
    for overrides in (shown, shown[::-1]):
        steps = [
            dict(step.settings) for step in changed(read("fewshot"), overrides).steps.values() if step.label == "1-shot"
        ]
        assert len(steps) == 12 and {(one["sampler"], one["batch"]) for one in steps} == {("episode:4,1,2", 12)}
    with pytest.raises(InputError, match=r"^--set step.1-shot.sampler=episode:4,1,2: .*expected batch = 12$"):
        changed(read("fewshot"), shown[:1])


STEP = '[[step]]\nname = "a"\nmix = "{mix}"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            STEP.format(mix="ce") + "teacher_epoch = 5\n",
            "step a: teacher_epoch = 5: it has no teacher; expected a step",
        ),
        (
            STEP.format(mix="soft") + 'teacher = "of.npz"\nteacher_epoch = 5\n',
            "teacher_epoch = 5: a file has no epochs",
        ),
        (STEP.format(mix="ce") + 'freeze = ["conv", "linear"]\n', "nothing of cnn2 is left to learn"),
        (STEP.format(mix="ce") + 'freeze = ["conv3"]\n', "cnn2 has no module 'conv3'; expected some of conv1, conv2"),
        (STEP.format(mix="dirichlet,soft:0") + 'teacher = "teacher"\n', "its teacher is a single run"),
        (
            STEP.format(mix="angle") + 'teacher = "teacher"\ncross_fitted = true\n',
            "angle reads the teacher's embedding",
        ),
    ],
)
def test_what_could_not_be_trained_is_not_explained_either(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(text)
    Path("of.npz").write_bytes(b"")
    done = CliRunner().invoke(cli.main, ["experiment", "mine.toml", "--explain", "--dataset", "urbansound8k"])
    assert done.exit_code == 1 and words in done.stderr and done.stderr.count("\n") == 1, done.output


def test_a_step_or_mix_of_any_length_has_a_folder_that_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mixes = [f"soft:1,distance:{weight}," + ",".join(f"hinton:{i}.125@T={i}.0625" for i in (7,)) for weight in (1, 2)]
    long = ",".join(
        f"{name}:1.2345678901@from=3@until=19" for name in ("angle", "area", "distance", "darkrank", "triplet", "ce")
    )
    names = ["a" * 300, "a" * 299 + "b"]
    text = "".join(f'[[step]]\nname = "{name}"\nmix = "ce:2"\n' for name in names)
    text += "".join(
        f'[[step]]\nname = "s{i}"\nmix = "{mix},{long}"\nteacher = "teacher"\n' for i, mix in enumerate(mixes)
    )
    Path("mine.toml").write_text(text)
    levels, _ = plan(read("mine.toml"), SETTINGS, "own", folds=(1,), seeds=(0,))
    folders = {run.folder for level in levels for run in level.runs}
    assert len(folders) == 5
    for folder in folders:
        folder.mkdir(parents=True)
