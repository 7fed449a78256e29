"""Spaces: what a file may vary, which trials go on, and what is proposed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import config
from pipeline.config import InputError
from pipeline.losses import LossMix
from pipeline.report import check
from pipeline.search import halving, planning, proposing, record, space
from pipeline.search.record import Measured

GOOD = """
losses = "ce:0.3,hinton:{taught}@T={T}"
trials = 12
[student]
lr = {low = 1e-3, high = 1e-2, log = true}
batch = [4, 8]
epochs = {low = 2, high = 10, step = 2}
[mix]
T = [1.0, 2.0]
taught = {low = 0.3, high = 3, log = true}
"""


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", sorted(space.names()))
def test_every_space_of_the_project_varies_settings_that_there_are(name: str) -> None:
    read = space.read(name)
    base = config.read(read.preset)
    assert read.title and read.trials >= len(read.parameters)
    for parameter in read.parameters:
        table, _, key = parameter.name.partition(".")
        for value in parameter.ends if table != "mix" else ():
            config.overridden({t: vars(getattr(base, t)) for t in config.KINDS}, [f"{table}.{key}={value}"])
    if read.network == "student":
        LossMix.parse(read.mix_of({one.name: one.ends[0] for one in read.parameters}))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("lr =", "rate =", "unknown key 'rate'"),
        ("[student]", "[features]\nbins = [8]\n[student]", "features are computed before"),
        ("[student]", "[studnt]", "unknown key 'studnt'"),
        ("trials = 12", "trials = 0", "trials = 0: expected a whole number from 1"),
        ("trials = 12", "trials = true", "trials = True"),
        ("trials = 12", "halving = 1.5", "halving = 1.5"),
        ("trials = 12", "teacher_seeds = [0, 0]", r"teacher_seeds = \[0, 0\]: expected a list of different"),
        ("trials = 12", "teacher_features = {bin = 3}", "teacher_features.bin: expected one of"),
        ("trials = 12", "sampler = 'best'", "expected one of tpe, random, grid"),
        ("trials = 12", "sampler = 'grid'", "a grid has lists alone"),
        ("trials = 12", "network = 'both'", "expected student or teacher"),
        ("trials = 12", "network = 'teacher'", r"expected \[teacher\] alone"),
        ("low = 1e-3, high = 1e-2", "low = 1e-2, high = 1e-3", "low below high"),
        ("low = 1e-3", "low = 0", "low above 0"),
        ("low = 1e-3", "low = nan", "finite numbers"),
        ("log = true}\nbatch", "log = 1}\nbatch", "log = true"),
        ("step = 2", "step = 0", "a step above 0"),
        ("low = 2, high = 10", "low = 2.5, high = 10", "whole numbers"),
        ("high = 1e-2, log = true}\nb", "high = 1e-2, lag = true}\nb", "or {low"),
        ("[4, 8]", "[]", "a list of values, each once"),
        ("[4, 8]", "[4, 4]", "each once"),
        ("[4, 8]", "4", "expected a list of values, or"),
        ("batch = [4, 8]", "model = {low = 1, high = 2}", "no number"),
        ("T = [1.0, 2.0]", "U = [1.0, 2.0]", "T, U: in .mix. or in losses alone"),
        ("{taught}@", "{taught@", "expected for example"),
        ('losses = "ce:0.3,hinton:{taught}@T={T}"', "losses = 3", "expected a mix"),
        ('losses = "ce', 'losses = [ "ce', "not a TOML file"),
        ("trials = 12", f"trials = {'1' * 5000}", "not a TOML file"),
        ("high = 1e-2", f"high = {10**400}", "finite numbers"),
        ("batch = [4, 8]", f"dropout = [{10**400}]", "each once"),
        ("batch = [4, 8]", "weight_decay = [1, 1.0]", "each once"),
    ],
)
def test_a_wrong_space_is_refused_in_one_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(InputError, match=words) as refused:
        space.read(written(tmp_path, GOOD.replace(old, new, 1)))
    assert "\n" not in str(refused.value) and "mine.toml" in str(refused.value)


@pytest.mark.parametrize("braces", ["{T:d}", "{T!z}", "{T:{U}}"])
def test_braces_that_no_number_fits_are_refused_before_anything_is_trained(tmp_path: Path, braces: str) -> None:
    read = space.read(written(tmp_path, f"losses = 'soft:{braces}'\n[mix]\nT = [0.5, 1.0]"))
    with pytest.raises(InputError, match="expected names alone in braces"):
        planning.require_values(read, config.Settings())


def test_a_space_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"no space 'strnog', did you mean 'strong'.*expected one of"):
        space.read("strnog")


def test_proposals_lie_in_the_space_and_follow_from_the_seed_alone(tmp_path: Path) -> None:
    read = space.read(written(tmp_path, GOOD))
    first = proposing.proposals(read, 0, [], range(9))
    assert first == proposing.proposals(read, 0, [], range(9)) != proposing.proposals(read, 1, [], range(9))
    for values in first:
        assert 1e-3 <= values["student.lr"] <= 1e-2 and values["student.batch"] in (4, 8)
        assert values["student.epochs"] in (2, 4, 6, 8, 10) and isinstance(values["student.epochs"], int)
        assert float(f"{values['student.lr']:.4g}") == values["student.lr"]  # as it will be written
        assert str(LossMix.parse(read.mix_of(values)))
    assert len({values["student.lr"] for values in first}) == 9
    measured = [Measured(n, 0, 1, True, values, "", 0.1 * n) for n, values in enumerate(first)]
    second = proposing.proposals(read, 0, measured, range(9, 12))
    assert second == proposing.proposals(read, 0, measured, range(9, 12))
    worse = [Measured(n, 0, 1, True, values, "", 0.9 - 0.1 * n) for n, values in enumerate(first)]
    assert second != proposing.proposals(read, 0, worse, range(9, 12))  # what was measured counts


def test_a_grid_is_each_combination_once(tmp_path: Path) -> None:
    read = space.read(written(tmp_path, "sampler='grid'\ntrials=3\n[student]\nlr=[0.1, 1]\nbatch=[4, 8]"), trials=4)
    pairs = [(one["student.lr"], one["student.batch"]) for one in proposing.proposals(read, 0, [], range(4))]
    assert pairs == [(0.1, 4), (0.1, 8), (1.0, 4), (1.0, 8)] and isinstance(pairs[3][0], float)
    with pytest.raises(InputError, match="trials = 5: the grid has 4"):
        space.read(str(tmp_path / "mine.toml"), trials=5)


def test_a_grid_without_trials_is_tried_whole_and_one_too_large_is_counted_alone(tmp_path: Path) -> None:
    rates = [number / 1000 for number in range(1, 31)]
    read = space.read(written(tmp_path, f"sampler='grid'\n[student]\nlr={rates}"))
    assert read.trials == 30 == len(proposing.proposals(read, 0, [], range(30)))
    tables = "\n".join(
        f"{key}={[number / 1000 for number in range(1, 1001)]}" for key in ("lr", "dropout", "weight_decay")
    )
    with pytest.raises(InputError, match=r"the grid has 1,000,000,000 trials; expected at most 10,000"):
        space.read(written(tmp_path, f"sampler='grid'\n[student]\n{tables}"))


def test_several_losses_are_a_choice(tmp_path: Path) -> None:
    read = space.read(written(tmp_path, "[student]\nlr = [0.1, 0.2]"), losses=("soft", "angle,area"))
    assert {one.name: one.choices for one in read.parameters}["losses"] == ("soft", "angle,area")
    assert read.mix_of({"losses": "angle,area", "student.lr": 0.1}) == "angle,area"


def test_halving() -> None:
    """By hand: 50 epochs, a third goes on, five epochs at least."""
    rungs = halving.shares(50, 3, 5)
    assert [halving.epochs_at(share, 50) for share in rungs] == [6, 17, 50]
    assert halving.shares(50, 1, 5) == (1.0,) and halving.shares(4, 3, 5) == (1.0,)
    assert list(map(len, halving.brackets(40, 3, 3))) == [9, 9, 9, 9, 4]
    assert [n for part in halving.brackets(40, 3, 3) for n in part] == list(range(40))
    assert halving.survivors({7: 0.5, 3: 0.5, 9: 0.4, 1: 0.9, 2: 0.1, 4: 0.2}, 3) == [1, 3]
    assert halving.survivors({7: 0.5}, 3) == [7] and halving.survivors({}, 3) == []
    assert halving.trained(40, 3, rungs, 50) == [(40, 6), (13, 17), (5, 50)]


def test_the_record_is_read_as_it_was_written_and_damage_is_seen(tmp_path: Path) -> None:
    lines = [
        Measured(0, 0, 1, False, {"student.lr": 0.1234, "student.batch": 4}, "ce:1", 1 / 3, {"2": 1 / 3}, goes_on=True),
        Measured(1, 0, 1, False, {"student.lr": 0.2}, "", refused="lr = 0.2: naïve"),
    ]
    record.keep(tmp_path, lines)
    path = tmp_path / record.TRIALS
    assert record.read(path) == lines
    content = path.read_bytes()
    for old, new in ((b"0.1234", b"0.1235"), (b"true", b"null"), (b'"crc32"', b'"crc31"'), (b"{", b"[")):
        path.write_bytes(content.replace(old, new, 1))
        with pytest.raises(InputError, match=r"trials.jsonl: line 1 is damaged .*search again"):
            record.read(path)


def test_a_record_of_another_search_and_a_space_that_is_gone_or_damaged_are_refused(tmp_path: Path) -> None:
    """Trials of another held-out fold have the same values: the same space and seed."""
    ours, theirs = tmp_path / "fold1", tmp_path / "fold2"
    measured = [Measured(0, 0, 1, True, {"student.lr": 0.1}, "ce:1", 0.5, {"3": 0.5})]
    for fold, folder in ((1, ours), (2, theirs)):
        record.begin(folder, {"held out": fold, "seeds": (0,)})
        record.keep(folder, measured)
        record.begin(folder, {"held out": fold, "seeds": (0,)})  # goes on
        assert record.read(folder / record.TRIALS) == measured
    whole = (ours / record.TRIALS).read_bytes()
    (ours / record.TRIALS).write_bytes((theirs / record.TRIALS).read_bytes())
    with pytest.raises(
        InputError, match=r"line 1 is damaged \(it is of another search, \w+, than search.json beside it"
    ):
        record.read(ours / record.TRIALS)
    (ours / record.TRIALS).write_bytes(whole[:-5])  # cut off in its last line
    with pytest.raises(InputError, match="line 1 is damaged"):
        record.read(ours / record.TRIALS)
    (ours / record.TRIALS).write_bytes(record.written(measured))  # as earlier versions wrote it
    assert record.read(ours / record.TRIALS) == measured
    (ours / record.TRIALS).write_bytes(2 * record.written(measured))
    with pytest.raises(InputError, match=r"line 2 is damaged \(trial 0 at rung 0 is there twice\)"):
        record.read(ours / record.TRIALS)
    (ours / record.TRIALS).write_bytes(b"")
    with pytest.raises(InputError, match="no line in it"):
        record.read(ours / record.TRIALS)
    (ours / record.TRIALS).unlink()
    assert checked(ours) == []  # it may have been killed before the first
    (tmp_path / "quick-fold1.toml").touch()
    assert [one.problem[:12] for one in checked(ours)] == ["no such file"]
    (ours / record.TRIALS).write_bytes(record.written(measured))
    about = ours / record.SEARCH
    about.write_text(about.read_text().replace('"held out": 1', '"held out": 3'))
    assert [one.problem[:7] for one in checked(ours)] == ["damaged"] * 2
    about.write_text("[]")
    assert [one.problem[:7] for one in checked(ours)] == ["damaged"] * 2
    about.unlink()
    with pytest.raises(InputError, match=r"search.json: no such file, and trials.jsonl is there \(it was lost\)"):
        record.begin(ours, {"held out": 1, "seeds": (0,)})
    (finding,) = checked(ours)
    assert "remove the folder" in finding.remedy and checked(theirs) == []
    assert check.check([ours]).findings == [finding]


def checked(folder: Path) -> list[check.Finding]:
    out = check.Checked()
    check.look_into(folder, sorted(path.name for path in folder.iterdir()), out)
    return out.findings
