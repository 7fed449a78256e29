"""Memory that a process gives back to the C library stays its own, in large pages."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

LARGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")

#: Arrays of 32 MB, twice as large as what imports leave free: the flags of the first's mapping, and the faults of writing to the second.
LOOK = """
import json, resource
import numpy as np
from pipeline.processes import heap
heap.keep_freed()
heap.keep_freed()
first = np.ones(1 << 22)
lines, inside, flags = open("/proc/self/smaps").read().splitlines(), False, []
for line in lines:
    head = line.split()[0]
    if not head.endswith(":"):
        start, stop = (int(part, 16) for part in head.split("-"))
        inside = start <= first.ctypes.data < stop
    elif inside and head == "VmFlags:":
        flags = line.split()[1:]
del first, lines
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
second = np.ones(1 << 22)
print(json.dumps([flags, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before]))
"""


def looked(limit: int | None = None) -> tuple[list[str], int]:
    def limited() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, preexec_fn=limited)
    flags, faults = json.loads(done.stdout)
    return flags, faults


def has_glibc() -> bool:
    return sys.platform == "linux" and "libc.so.6" in Path("/proc/self/maps").read_text()


@pytest.mark.skipif(not has_glibc(), reason="the C library is another")
def test_freed_memory_serves_again_without_a_new_page() -> None:
    flags, faults = looked()
    assert faults < 100  # 8,192 pages of 4 kB if they were given back
    if LARGE.is_file() and "[never]" not in LARGE.read_text():
        assert "hg" in flags


@pytest.mark.skipif(not has_glibc(), reason="the C library is another")
def test_under_a_limit_of_addresses_no_large_block_is_asked_for() -> None:
    flags, faults = looked(3 << 30)
    assert faults < 100 and "hg" not in flags
