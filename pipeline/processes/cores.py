"""How many cores this process has: what all that is spread over processes goes by."""

from __future__ import annotations


def usable() -> int:
    """1 or more: the cores of its affinity, and no more than its container may use at a time (cgroup's ``cpu.max``; a part of a
    core counts as one) or ``LOKY_MAX_CPU_COUNT`` says."""
    import joblib  # slow to import: a finished stage does without

    return int(joblib.cpu_count())


def of_torch() -> int:
    """As many as torch would take (``OMP_NUM_THREADS``), which knows of no container, and no more than are ``usable``."""
    import torch  # slow to import

    return min(torch.get_num_threads(), usable())
