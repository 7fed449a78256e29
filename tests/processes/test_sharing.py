"""A cluster that several commands share: what waits says so in a line, and what is asked to stop keeps how far it came."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipeline import signals
from pipeline.processes import sharing, standing
from pipeline.processes.standing import Stopped


@pytest.fixture(autouse=True)
def nothing_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "stopped", set())


@pytest.mark.parametrize(
    ("busy", "words"),
    [
        ([[["theirs", "/data/a"]], [["other", "/data/b"]]], "of another command, which stands in /data/a and /data/b;"),
        ([[], []], "do other work;"),
        ([[["theirs", "/data/a"]], [["ours", "/data/b"]]], ""),
        ([[["theirs", "/data/a"]], None], "of another command, which stands in /data/a;"),
        ([None, None], ""),
    ],
)
def test_work_that_waits_for_others_is_said_once(
    busy: list[list[list[str]] | None], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(sharing.time, "monotonic", lambda: now[0])
    watch = sharing.Watch("ours", "tcp://there:8786", lambda name: busy)
    for seconds, heard in ((20, False), (20, True), (20, False), (20, False), (60, False)):
        now[0] += seconds
        watch.look(heard)
        if now[0] < 180:
            assert not capsys.readouterr().err
    said = capsys.readouterr().err
    assert said.count("\n") == (1 if words else 0) and words in said
    assert not words or "tcp://there:8786" in said


BEGUN, END = threading.Event(), threading.Event()


def long() -> None:
    with signals.thread_asks(END.set):
        BEGUN.set()
        assert END.wait(20)
        raise KeyboardInterrupt("epoch 3")


def asked() -> bool:
    END.clear()
    with signals.thread_asks(END.set):
        return END.is_set()


def test_what_is_asked_to_stop_ends_and_its_thread_serves_the_next_command() -> None:
    pickle = pytest.importorskip("distributed.protocol.pickle", reason="the extra dask is not installed")
    here = standing.here()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(standing.work, here, pickle.dumps((long, ())), "ours")
        assert BEGUN.wait(20) and standing.busy() == [("ours", here.folder)]
        assert standing.stop("theirs") == 0 and not END.is_set()
        assert standing.stop("ours") == 1
        assert future.result(20) == Stopped("epoch 3")
        assert standing.stop("ours") == 0 and standing.busy() == []
        late = pool.submit(standing.work, here, pickle.dumps((os.getpid, ())), "ours")
        assert late.result(20) == Stopped(""), "it had not begun when the others were stopped"
        assert pool.submit(standing.work, here, pickle.dumps((asked, ())), "another").result(20) is False


def test_what_nobody_waits_for_is_asked_to_stop_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that was killed cannot ask; dask takes its work back, and ends nothing."""
    pickle = pytest.importorskip("distributed.protocol.pickle", reason="the extra dask is not installed")
    END.clear()
    monkeypatch.setattr(standing, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(standing, "when_given_up", lambda: lambda: True)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(standing.work, standing.here(), pickle.dumps((long, ())), "ours")
        assert future.result(20) == Stopped("epoch 3") and not standing.busy() and not signals.asked


def test_a_worker_that_is_silent_is_not_waited_for_and_one_that_is_gone_has_no_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Client:
        @property
        def scheduler(self) -> Client:
            return self

        async def ncores(self) -> dict[str, int]:
            return {"quick": 1, "held": 1, "gone": 1}

        async def _run(self, function: Any, text: str, *, workers: list[str], on_error: str) -> dict[str, Any]:
            await asyncio.sleep(60 if workers == ["held"] else 0)
            return {} if workers == ["gone"] else {workers[0]: function(text)}

    monkeypatch.setattr(sharing, "ANSWER_SECONDS", 0.01)
    assert asyncio.run(sharing.answers(Client(), "stop", "of nobody's")) == [0, None]


def test_a_stop_waits_for_the_workers_and_no_longer_than_it_may(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sharing, "LOOK_SECONDS", 0.001)
    left, asked = [2, 1, 0], list[tuple[str, ...]]()
    sharing.stop("ours", lambda *call: asked.append(call) or [0, left.pop(0)])
    assert asked == [("stop", "ours")] * 3 and not left
    assert not capsys.readouterr().err
    monkeypatch.setattr(sharing, "STOP_SECONDS", 0.01)
    sharing.stop("ours", lambda *call: [1, 0, None])
    assert "2 of 3 dask workers did not say that their step has ended" in capsys.readouterr().err
