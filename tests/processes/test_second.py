"""The second process that shares work with this one: every group once, whatever becomes of it, and nothing of it left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pytest

from pipeline.processes import second
from pipeline.processes.second import possible

GROUPS = [np.full((2 - number // 9, 3), number, np.float32) for number in range(10)]  # the last one has one row
HERE = os.getpid()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")


@pytest.fixture(autouse=True)
def a_second_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second, "possible", lambda: True)


def who_and_what(group: np.ndarray) -> np.ndarray:
    """The process, how many rows there were, and their sum."""
    time.sleep(0.005)
    return np.array([os.getpid(), len(group), group.sum()])


def answers(compute: Callable[[np.ndarray], np.ndarray], alone: int | None = 2) -> dict[int, np.ndarray]:
    with closing(second.shared(compute, iter(GROUPS), GROUPS[0].shape, alone)) as done:
        listed = list(done)
    assert len({number for number, _ in listed}) == len(listed)
    assert not multiprocessing.active_children()
    return dict(listed)


def there(compute: Callable[[], object]) -> Callable[[np.ndarray], np.ndarray]:
    """``who_and_what``, but that the second process does something else first."""

    def work(group: np.ndarray) -> np.ndarray:
        if os.getpid() != HERE:
            compute()
        return who_and_what(group)

    return work


def check(done: dict[int, np.ndarray]) -> set[int]:
    """That each group was computed from what was in it; the processes."""
    for number, group in enumerate(GROUPS):
        assert done[number][1:].tolist() == [len(group), group.sum()]
    assert len(done) == len(GROUPS)
    return {int(one[0]) for one in done.values()}


def test_both_processes_compute_and_each_group_is_computed_once() -> None:
    done = answers(who_and_what)
    assert len(check(done)) == 2
    assert done[0][0] == done[1][0] == HERE  # before the fork
    assert check(answers(who_and_what, None)) == {HERE}


def test_few_groups_fork_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second, "Second", lambda *_: pytest.fail("a process was forked"))
    assert check(answers(who_and_what, len(GROUPS))) == {HERE}


@pytest.mark.parametrize(
    ("number", "group", "processes"), [(signal.SIGKILL, 1, 1), (signal.SIGKILL, 2, 2), (signal.SIGSTOP, 1, 1)]
)
def test_one_that_is_killed_or_answers_no_more_is_done_without(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, group: int, processes: int
) -> None:
    if number == signal.SIGSTOP:
        monkeypatch.setattr(second, "PATIENCE", 0.1)
    calls: list[int] = []

    def die() -> None:
        calls.append(1)
        if len(calls) == group:
            os.kill(os.getpid(), number)

    assert len(check(answers(there(die)))) == processes


def test_an_error_of_the_computation_is_raised_here(capfd: pytest.CaptureFixture[str]) -> None:
    """Where the second process alone has it, nobody is told: here it went well."""

    def fail() -> None:
        raise MemoryError("there")

    assert check(answers(there(fail))) == {HERE}

    def last(group: np.ndarray) -> np.ndarray:
        if group[0, 0] == 9:
            raise ValueError("of the last group")
        return who_and_what(group)

    for alone in (None, 2):
        with pytest.raises(ValueError, match="of the last group"):
            answers(last, alone)
        assert not multiprocessing.active_children()
    assert capfd.readouterr() == ("", "")


def test_it_ends_when_the_groups_break_off_and_when_nobody_wants_the_rest() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from GROUPS[:5]
        raise OSError("cannot be read on")

    with (
        pytest.raises(OSError, match="cannot be read on"),
        closing(second.shared(who_and_what, broken(), (2, 3), 1)) as done,
    ):
        list(done)
    assert not multiprocessing.active_children()
    with closing(second.shared(who_and_what, iter(GROUPS), (2, 3), 1)) as done:
        next(done), next(done), next(done)
        assert len(multiprocessing.active_children()) == 1
    assert not multiprocessing.active_children()


def test_a_signal_that_comes_while_it_is_forked_ends_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    process = multiprocessing.get_context("fork").Process
    start = process.start

    def interrupted(self: multiprocessing.Process) -> None:
        start(self)
        os.kill(HERE, signal.SIGINT)

    monkeypatch.setattr(process, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), closing(second.shared(who_and_what, iter(GROUPS), (2, 3), 2)) as done:
        list(done)
    assert not multiprocessing.active_children()


def test_where_none_can_be_forked_this_one_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(multiprocessing.get_context("fork").Process, "start", refused)
    assert check(answers(who_and_what)) == {HERE}


def test_it_needs_linux_and_two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5})
    assert possible()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert not possible()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5})
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "sched_getaffinity")
    assert not possible()


def test_without_a_second_core_this_one_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second, "possible", lambda: False)
    assert check(answers(who_and_what)) == {HERE}
