"""Workers of a dask cluster: asked before they are used, used when they come late, and missed in one line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("distributed", reason="the extra dask is not installed")

from distributed import LocalCluster, get_worker

from pipeline.config import InputError
from pipeline.processes import cluster, probe
from tests.extracting import counts, extract
from tests.tiny import QUICK, ROOT, audio_rkd, write_corpus


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cluster, "WORKER_SECONDS", 3)
    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.1)
    monkeypatch.chdir(tmp_path)


@contextmanager
def threads(count: int) -> Iterator[LocalCluster]:
    """A cluster whose workers are threads of this process: they stand where it stands."""
    with LocalCluster(n_workers=count, threads_per_worker=1, processes=False, dashboard_address=None) as local:
        yield local


def slow_address(number: int) -> tuple[int, str]:
    time.sleep(0.15)
    return number, get_worker().address


def test_workers_that_come_late_get_their_share_and_no_more_is_under_way_than_they_can_take() -> None:
    under_way: list[int] = []
    with threads(1) as local, cluster.connected(-1, local.scheduler_address, []) as workers:
        submit, results = workers.client.submit, []

        def counted(*values: object, **options: object) -> object:
            under_way.append(under_way[-1] + 1 if under_way else 1)
            return submit(*values, **options)

        workers.client.submit = counted
        for result in workers.results(slow_address, ((i,) for i in range(40)), lambda there: 2 * sum(there.values())):
            under_way.append(under_way[-1] - 1)
            results.append(result)
            if len(results) == 4:
                assert max(under_way) == 2 and len({address for _, address in results}) == 1
                local.scale(4)
    assert sorted(number for number, _ in results) == list(range(40))
    assert len({address for _, address in results}) == 4 and 4 < max(under_way) <= 8


def test_a_cluster_without_workers_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of the test's own, which only waiting moves: looked at until then, and not longer."""
    now = 0.0

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds

    with threads(0) as local:
        monkeypatch.setattr(cluster, "WORKER_SECONDS", 40)
        monkeypatch.setattr(cluster, "LOOK_SECONDS", 8)
        monkeypatch.setattr(cluster, "time", SimpleNamespace(monotonic=lambda: now, sleep=wait))
        with pytest.raises(InputError) as caught, cluster.connected(-1, local.scheduler_address, []):
            pass
    assert 40 < now <= 48
    line = str(caught.value)
    assert f"{local.scheduler_address} has 0 workers" in line and "\n" not in line
    assert f"start workers in {Path.cwd()}: cd {Path.cwd()} && " in line


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["scheduler", "workers"])
def test_a_cluster_that_is_lost_on_the_way_is_one_line(lost: str) -> None:
    with threads(1) as local:
        address = local.scheduler_address
        with pytest.raises(InputError) as caught, cluster.connected(-1, address, []) as workers:
            for _ in workers.results(slow_address, ((i,) for i in range(40)), len):
                local.close() if lost == "scheduler" else local.scale(0)
    line = str(caught.value)
    assert address in line and "\n" not in line and f"start workers in {Path.cwd()}" in line
    assert ("is gone" if lost == "scheduler" else "has 0 workers") in line


def test_stage_one_on_a_cluster_is_computed_by_its_workers(root: Path, computed: list[str]) -> None:
    with threads(2) as local:
        assert counts(extract(root, backend="dask", scheduler=local.scheduler_address)) == [
            (5, 0, 0),
            (5, 0, 0),
        ]
    assert len(computed) == 10


def test_a_refused_cluster_leaves_no_empty_folders(root: Path, computed: list[str]) -> None:
    """Workers are asked whether they see the folders of parts; those that stay empty go again, what is in one stays."""
    folder = extract(root, jobs=1)[0].path.parent
    for path in folder.glob("*.h5"):
        path.unlink()
    kept = folder / "fold2.h5.parts" / "of a person"
    kept.parent.mkdir()
    kept.touch()
    before, heard = sorted(folder.rglob("*")), len(computed)
    with threads(0) as local, pytest.raises(InputError, match="has 0 workers"):
        extract(root, backend="dask", scheduler=local.scheduler_address)
    assert sorted(folder.rglob("*")) == before and kept in before and len(computed) == heard


OWN = probe.probe("", [], cluster.PACKAGES)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"same_folder": False, "folder": "/home"}, "stands in /home, another folder"),
        ({"same_folder": False, "sees_folder": True, "folder": "/home"}, ""),
        ({"broken": "ModuleNotFoundError: No module named 'pipeline'"}, "cannot import the project"),
        ({"versions": OWN["versions"] | {"librosa": "0.9.1"}}, "other versions (librosa 0.9.1, here "),
        ({"versions": OWN["versions"] | {"audio-rkd": "9"}}, "other versions (audio-rkd 9, here "),
        ({"versions": OWN["versions"] | {"python": "3.12"}}, "other versions (python 3.12, here "),
        ({"unseen": ["/scratch/toy"]}, "does not see /scratch/toy"),
    ],
)
def test_what_a_worker_cannot_do_is_told(changes: dict, reason: str) -> None:
    assert reason in cluster.fault(OWN | changes) and bool(reason) == bool(cluster.fault(OWN | changes))


def test_a_worker_without_the_project_answers_too(tmp_path: Path) -> None:
    """What is sent is text for a bare Python, whichever; nothing of it is imported from the project."""
    with cluster.token_file() as token:
        code = f"print({cluster.worker_code(token, ['/nowhere/x'])})"
        assert token and (tmp_path / token).is_file()
        for folder in (tmp_path, Path("/")):
            done = subprocess.run([sys.executable, "-S", "-c", code], cwd=folder, capture_output=True, text=True)
            answer = eval(done.stdout)  # a dictionary of plain values
            assert answer["folder"] == str(folder) and answer["same_folder"] == (folder == tmp_path)
            assert answer["unseen"] == ["/nowhere/x"] and "No module named 'pipeline'" in answer["broken"]
            assert answer["versions"]["librosa"] == "none"
    assert not (tmp_path / token).exists()


@pytest.mark.slow
def test_commands_say_how_workers_must_be_started(tmp_path: Path) -> None:
    write_corpus(tmp_path / "tiny")
    corpus = ("--dataset", "urbansound8k", "--data", "tiny", *QUICK)
    assert audio_rkd(tmp_path, "features", "--jobs", "1", *corpus).returncode == 0
    dask, elsewhere = Path(sys.executable).with_name("dask"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "pipeline.py").write_text("raise ImportError('no such project')")
    with LocalCluster(n_workers=0, dashboard_address=None) as local:
        address = local.scheduler_address
        worker = subprocess.Popen(
            [dask, "worker", address, "--nthreads", "1", "--no-dashboard"],
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": str(elsewhere)},
            stderr=subprocess.DEVNULL,
        )
        try:
            local.wait_for_workers(1, timeout=60)
            for command in (
                ("features", "--folds", "1", "--set", "features.n_fft=1024"),
                ("teacher",),
                ("table3",),
                ("ban", "--generations", "1"),
            ):
                done = audio_rkd(tmp_path, *command, *corpus, "--backend", "dask", "--scheduler", address)
                assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
                line = done.stderr.splitlines()[-1]
                assert line.startswith(f"error: 1 of 1 dask worker at {address} ")
                assert f"stands in {elsewhere} and cannot import the project (ImportError: no such project)" in line
                assert f"; start workers in {tmp_path}: " in line
        finally:
            worker.terminate()
            worker.wait(30)
    assert tmp_path != ROOT
