"""``explain`` of really trained networks: figures by plain loops over the pure functions, what is kept, the page, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError

from pipeline import cache, runs
from pipeline.config import InputError
from pipeline.engine.missing import train
from pipeline.figures.explained import discarded, foreground
from pipeline.models import saved
from pipeline.report import page, votes
from pipeline.report.explaining import clips, comparing, measuring, results, wording
from pipeline.runs import damage
from tests import recipes
from tests.tiny import invoke

pytestmark = pytest.mark.slow

QUICKLY = ("--clips", "3", "--steps", "6", "--copies", "2")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder in which the experiment ``explain`` was trained on mel planes with events, and its distilled run."""
    root = tmp_path_factory.mktemp("explain")
    source = recipes.source(root)
    for path in source.files:
        fold = cache.read_fold(path)
        fold.features[:, :, 1] *= 12  # dB
        cache.write_fold(path, fold.header, [fold.features])
    digests = {str(header.fold): header.digest for header in map(cache.read_header, source.files)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        levels, rows = recipes.planned("explain")
        train(levels, dataclasses.replace(source, digests=digests), checkpoint_minutes=5, **recipes.HOW)
    (folder,) = rows["explain/distilled"] if "explain/distilled" in rows else rows["distilled"]
    return root, folder / "fold1-seed0" if not folder.name.startswith("fold") else folder


def explained(*arguments: str) -> dict[str, Any]:
    done = invoke("explain", *arguments, *QUICKLY, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_figures_are_those_of_plain_loops(world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root, run = world
    monkeypatch.chdir(root)
    told = explained(str(run))
    assert [one["kind"] for one in told["heard"]] == ["teacher", "distilled", "labels"]
    assert [one["model"] for one in told["heard"]] == ["resnet18", "cnn2", "cnn2"]
    record = runs.read(run)
    fold = cache.read_fold(cache.fold_path(Path("cache"), "tiny", recipes.SPEC, 1))
    rows = [fold.header.clips.index(name) for name in told["clips"]["1"]]
    x, distilled = torch.from_numpy(fold.features[rows, 0]), told["heard"][1]
    payload = saved.read_payload(run)
    assert distilled["epochs"] == [1, 2] and distilled["run"] == str(run)
    fg, bg = {}, {}
    for epoch, state in ((1, "1"), (2, "last")):
        mask = np.ones((3, 12, 2), dtype=bool)
        search = discarded.USUAL._replace(steps=6, copies=2)
        let_go = discarded.discarded(saved.network_of(payload, state), x, told["clips"]["1"], 1, mask, search=search)
        sound = [foreground.blocks(foreground.foreground(m, 9), 9)[0] for m in fold.features[rows, 0, 1]]
        behind = [h for clip in range(3) for h in let_go.entropies[clip][~sound[clip]]]
        concept = [np.mean(behind, dtype=np.float64) - let_go.entropies[clip] > 0.2 for clip in range(3)]
        fg[epoch] = [int((c & s).sum()) for c, s in zip(concept, sound)]
        bg[epoch] = [int((c & ~s).sum()) for c, s in zip(concept, sound)]
    figures = distilled["figures"]["10"]
    assert (figures["n_fg"], figures["n_bg"]) == (pytest.approx(np.mean(fg[2])), pytest.approx(np.mean(bg[2])))
    assert figures["share"] == pytest.approx(np.mean([f / (f + b) for f, b in zip(fg[2], bg[2]) if f + b]))
    lines = runs.read_metrics(run)
    names = [name for name in lines[0]["moved"] if name.startswith("conv")]  # what the embedding depends on
    length = [np.sqrt(sum(line["moved"][n] ** 2 for n in names)) for line in lines]
    whole = np.sqrt(sum(lines[0]["first_norm"][n] ** 2 for n in names))
    far = [(length[0] if a >= b else sum(length)) / whole for a, b in zip(fg[1], fg[2]) if max(a, b)]
    assert figures["d_mean"] == pytest.approx(np.mean(far)) and figures["d_var"] == pytest.approx(np.var(far))
    difference = told["differences"][distilled["row"]]["10"]["n_fg"]
    assert difference["difference"] == pytest.approx(figures["n_fg"] - told["heard"][2]["figures"]["10"]["n_fg"])
    assert difference["folds"] == 1 and difference["p"] is None and record.result.weights == distilled["weights"]


def test_a_run_of_some_classes_hears_clips_of_these_alone(
    world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever classes its teacher has; runs of classes apart are not explained together."""
    monkeypatch.chdir(world[0])
    record = runs.read(world[1])
    whole, some = (clips.chosen(record, Path("cache"), 12, told) for told in ((), ("e", "b")))
    assert set(whole.labels) == set("abcdef") and set(some.labels) == set("be") and some.fold_clips == 4
    assert [name for name in whole.names if name in some.names] == list(some.names)

    def listener(kind: str, *classes: str) -> Any:
        return SimpleNamespace(kind=kind, record=SimpleNamespace(classes=classes, folder=Path("run")))

    def told(*each: Any) -> tuple[str, ...]:
        return comparing.told_by([cast(Any, SimpleNamespace(fold=1, listeners=each))], 1)

    assert told(listener("teacher", "a", "b"), listener("distilled", "c", "b"), listener("labels", "b", "c")) == (
        "c",
        "b",
    )
    assert told(listener("teacher", "a", "b")) == ("a", "b") and told(listener("labels")) == ()
    with pytest.raises(InputError, match="fold 1: run, run have no class in common"):
        told(listener("distilled", "a", "b"), listener("labels", "c", "d"))


def test_what_was_measured_is_kept_and_what_is_damaged_is_measured_again(
    world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(world[0], tmp_path / "root", symlinks=True))
    monkeypatch.chdir(root)
    run = str(world[1])
    first = invoke("explain", run, *QUICKLY)
    assert first.exit_code == 0, first.output
    assert "distilled less labels alone" in first.stdout and "What they cannot say" in first.stdout
    (written,) = Path("reports/tiny/explained").glob("*.json")
    before = written.read_bytes()
    states = sorted(Path("cache/tiny").joinpath(measuring.KEPT).glob("*.npz"))
    assert len(states) == 6  # three networks, two epochs each
    with monkeypatch.context() as patched:
        patched.setattr(measuring, "discarded", lambda *_: pytest.fail("measured again"))
        assert invoke("explain", run, *QUICKLY).stdout == first.stdout
    states[0].write_bytes(states[0].read_bytes()[:-40])
    states[1].unlink()
    assert invoke("explain", run, *QUICKLY).stdout == first.stdout and written.read_bytes() == before
    for picture in ("listening", "concepts"):
        (file,) = Path("reports/tiny/pictures").rglob(f"{picture}.csv")
        assert len(file.read_text().splitlines()) > 3
    text = page.write(Path("runs"), Path("reports"), "tiny").read_text()
    assert 'id="explained1"' in text and "What they cannot say" in text and 'href="#explained1"' in text
    written.write_bytes(before[:-200])  # damaged: told, and the page does without
    assert results.kept(Path("reports"), "tiny") == [] and "damaged" in damage.told()[0]
    written.write_bytes(before)
    assert len(results.kept(Path("reports"), "tiny")) == 1
    result = Path(run) / "result.json"
    result.rename(result.with_name("gone"))  # trained anew
    assert results.kept(Path("reports"), "tiny") == []
    done = invoke("explain", run, *QUICKLY)
    assert done.exit_code == 1 and "no finished run there" in done.stderr


def test_in_several_processes_the_numbers_are_the_same(
    world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(world[0], tmp_path / "root", symlinks=True))
    monkeypatch.chdir(root)
    folder = Path("cache/tiny") / measuring.KEPT
    told = []
    for jobs in ("1", "2"):
        shutil.rmtree(folder, ignore_errors=True)
        done = invoke("explain", str(world[1]), *QUICKLY, "--jobs", jobs)
        assert done.exit_code == 0, done.output
        words = "1 process" if jobs == "1" else "2 processes"
        assert f"6 states of weights to measure, 3 clips each, in {words}" in done.stderr
        arrays = {path.name: dict(np.load(path)) for path in sorted(folder.iterdir())}
        told.append((done.stdout, arrays))
    (one, first), (two, second) = told
    assert one == two and list(first) == list(second) and len(first) == 6
    for name in first:
        for part in ("key", "entropies", "error"):
            assert np.array_equal(first[name][part], second[name][part])

    @contextmanager
    def killed(*_: Any) -> Iterator[Iterator[Any]]:
        raise TerminatedWorkerError("SIGKILL(-9)")
        yield

    sorted(folder.iterdir())[0].unlink()
    sorted(folder.iterdir())[0].unlink()
    monkeypatch.setattr(measuring.loky, "results", killed)
    done = invoke("explain", str(world[1]), *QUICKLY, "--jobs", "2")
    assert done.exit_code == 1 and "2 states of weights to measure (4 are kept)" in done.stderr
    assert "a process that measured was killed" in done.stderr and "the same command goes on" in done.stderr


def test_a_figure_is_higher_where_it_is_at_every_margin() -> None:
    """No difference is not one way or the other, and what two of three margins say is not held."""
    each = {
        "n_fg": (1, 2, 3),
        "n_bg": (-1, -2, -3),
        "share": (0, 0, 0),
        "d_mean": (0, 0, 1),
        "d_var": (1, 1),
        "stable": (1, -1, 1),
    }
    told = {
        margin: {name: {"difference": float(of[i]), "folds": 6} for name, of in each.items() if i < len(of)}
        for i, margin in enumerate(("6", "10", "15"))
    }
    student = SimpleNamespace(row="student", kind=wording.DISTILLED)
    (line,) = wording.findings(cast(results.Explained, SimpleNamespace(heard=[student], differences={"student": told})))
    said = {
        how: names.count(" (")
        for how, _, names in (part.partition(": ") for part in line.partition(": ")[2].split("; "))
    }
    assert (
        said == {"higher": 1, "lower": 1, "the same": 1, "not the same way at each margin": 3} and "claim" not in line
    )


def test_what_cannot_be_explained_is_one_line(world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world[0])
    done = invoke("explain", str(world[1]), *QUICKLY, "--layer", "map9")
    assert done.exit_code == 1 and "--layer map9: " in done.stderr and "expected one of embedding" in done.stderr
    monkeypatch.setattr(foreground, "LEAST", 2.0)
    done = invoke("explain", str(world[1]), *QUICKLY)
    assert done.exit_code == 1 and "no clip has an event" in done.stderr


def test_a_trusted_teacher_is_said_below_the_tables(world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root, run = world
    monkeypatch.chdir(root)
    records = votes.records
    monkeypatch.setattr(
        votes, "records", lambda paths: [dataclasses.replace(one, trusted=True) for one in records(paths)]
    )
    assert any("does not say which folds it was trained on" in note for note in explained(str(run))["notes"])
