"""Memory that a process gives back to the C library stays its own, in large pages."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

LARGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")

#: Arrays of 32 MB, twice as large as what imports leave free: the flags of the first's mapping, and the faults of writing to the second.
LOOK = """
import json, mmap, resource, sys
from pathlib import Path
import numpy as np
from pipeline.processes import heap
if len(sys.argv) > 1:
    heap.OVERCOMMIT = Path(sys.argv[1])
    with open(heap.OVERCOMMIT, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
heap.keep_freed()
heap.keep_freed()
first = np.ones(1 << 22)
lines, inside, flags = open("/proc/self/smaps", errors="replace").read().splitlines(), False, []
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


def looked(limit: int | None = None, overcommit: bytes = b"") -> tuple[list[str], int]:
    """``overcommit``: a file that says what the system's own would, and is mapped meanwhile."""

    def limited() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    files = [overcommit] if overcommit else []
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *files], capture_output=True, text=True, check=True, preexec_fn=limited
    )
    flags, faults = json.loads(done.stdout)
    return flags, faults


def has_glibc() -> bool:
    return sys.platform == "linux" and b"libc.so.6" in Path("/proc/self/maps").read_bytes()


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


@pytest.mark.skipif(not has_glibc(), reason="the C library is another")
@pytest.mark.parametrize("mode", [1, 2])
def test_where_addresses_are_counted_none_are_asked_for(mode: int, tmp_path: Path) -> None:
    """Beside a mapped file whose name is no text, as of a data set or an environment in an old folder."""
    place = os.fsencode(tmp_path) + b"/caf\xe9"
    Path(os.fsdecode(place)).write_text(f"{mode}\n")
    flags, faults = looked(overcommit=place)
    assert faults < 100
    if LARGE.is_file() and "[never]" not in LARGE.read_text():
        assert ("hg" in flags) == (mode == 1)


#: Faults of writing to arrays as large as a clip's for the second time, and to one as large as a long sound.
SMALL = """
import json, resource
import numpy as np
from pipeline.processes import heap
heap.keep_small()
def faults(count, size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    some = [np.ones(size, np.uint8) for _ in range(count)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(5, 1 << 20), faults(1, 1 << 25)
print(json.dumps([faults(5, 1 << 20), faults(1, 1 << 25)]))
"""


@pytest.mark.skipif(not has_glibc(), reason="the C library is another")
def test_the_arrays_of_a_clip_are_kept_and_large_ones_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", SMALL], capture_output=True, text=True, check=True)
    small, large = json.loads(done.stdout)
    assert small < 100  # 1,280 pages of 4 kB if they were given back
    assert large > 10  # at least its 16 pages of 2 MB are new
