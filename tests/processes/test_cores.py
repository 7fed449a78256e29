"""How many cores there are: of the machine, of the process, of a container; and who goes by it."""

from __future__ import annotations

import io
import os
import re

import pytest
import torch
from joblib.externals.loky.backend import context

from pipeline.engine import schedule
from pipeline.processes import cores, second
from pipeline.report.diagnosis import libraries
from pipeline.training import step


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores, of which a container has the time of one (Linux' cgroup, version 2)."""
    there, limit = os.path.exists, "/sys/fs/cgroup/cpu.max"
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    # Else eight would stay behind, and of more threads than cores torch ended a later test: "corrupted size vs. prev_size".
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(os.path, "exists", lambda path: path == limit or there(path))
    monkeypatch.setattr(context, "open", lambda path: io.StringIO("100000 100000\n"), raising=False)


def test_a_container_has_no_more_than_its_share(container: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores.usable() == cores.of_torch() == 1
    monkeypatch.setattr(context, "open", lambda path: io.StringIO("250000 100000\n"))
    assert cores.usable() == 3  # a part of a core counts as one
    monkeypatch.setattr(context, "open", lambda path: io.StringIO("max 100000\n"))
    assert cores.usable() == 8
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert cores.of_torch() == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert cores.usable() == cores.of_torch() == 1


def test_where_a_container_has_one_core_nothing_is_spread(container: None) -> None:
    assert not second.possible()
    assert re.search("8 cores, 1 of them for this process$", libraries.python())
    with step.threads("loop", 5) as pool:
        assert pool is None
    assert schedule.processes_of(0, 5, "cpu") == 1
    assert schedule.processes_of(3, 5, "cpu") == 3  # as asked
