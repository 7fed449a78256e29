"""Work in processes of this machine, by joblib's loky: they end with the command, and take no file here for a module."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.processes import shadowing
from pipeline.signals import ctrl_c_held_back


@contextmanager
def results(calls: Iterable[Any], jobs: int, order: str = "generator") -> Iterator[Iterator[Any]]:
    """What joblib's delayed ``calls`` return, as it comes: in turn, or as ``order`` (joblib's ``return_as``) says.

    The processes never see a signal to stop: whoever leaves the block by an exception ends them at once, whatever they do.
    Files that are half written have no final name.
    """
    from joblib import Parallel, parallel_config  # joblib: a finished stage does without
    from joblib.externals.loky.backend import resource_tracker

    with shadowing.OwnFolderHidden(), parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
        with ctrl_c_held_back(resource_tracker):
            outcomes = Parallel(return_as=order, batch_size=1)(calls)
        try:
            yield outcomes
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # joblib's, that tasks were cancelled
                # Where tasks are left joblib kills the processes. (To ask loky for them first would wait for tasks to end,
                # and for ever where one ends meanwhile and the next is handed over.)
                outcomes.close()
