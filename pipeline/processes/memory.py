"""How much memory can still be had on this machine."""

from __future__ import annotations

import os
from pathlib import Path

#: In bytes, what is taken to be free at least, and where the system does not say.
LEAST, UNKNOWN = 1 << 28, 1 << 31


def free_memory() -> int:
    """Bytes that can still be had, within the limit of the container; pages of files that the system keeps count as free."""
    free = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
        cgroup = Path("/sys/fs/cgroup")
        limit = (cgroup / "memory.max").read_text().strip()
        if limit.isdigit():
            used = int((cgroup / "memory.current").read_text())
            free.append(int(limit) - max(0, used - reclaimable((cgroup / "memory.stat").read_text())))
    except (OSError, ValueError):
        pass  # Not Linux, or no container: what was found so far, else half of what the machine has.
    if not free and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        free.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return max(LEAST, min(free, default=UNKNOWN))


def reclaimable(statistics: str) -> int:
    """Bytes of a container's use that are pages of files which it gives up when it needs memory, by its ``memory.stat``."""
    return sum(int(line.split()[1]) for line in statistics.splitlines() if line.startswith("inactive_file "))
