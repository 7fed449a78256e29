"""The run folder: what one training leaves on disk, and where.

A run is one training of one network. ``planned.PlannedRun`` is a run before it is trained: all that its numbers depend on, and
``folder``, which follows from that (of teachers and students by ``paths.cell_path``); ``record.Record`` is what its folder says
afterwards. (``training.task.Run`` is what the loop needs of it.) Finished is what has a ``result.json`` (``folder.finished``);
whether it still fits today's data and teachers: ``freshness.outdated``.

Conventions. A folder ``fold{k}-seed{s}`` holds one training with fold k held out::

    config.json       what was trained, on what, with which settings       (schema 1)
    environment.json  versions of Python and packages, commit, time
    metrics.jsonl     one line per epoch
    model.pt          the network (written by the caller; no torch here)
    predictions.npz   clips, sources, labels, logits of the held-out fold's clean clips
    result.json       the figures, in [0, 1]; written last: a folder with it is finished, one without is not

Each file is written under another name, synced, and renamed. JSON is strict: NaN and infinities become null.
Folders whose names begin with a dot (checkpoints of packs) are never looked into.

Begin with ``planned``, then ``folder`` and ``record``. Imports: losses (names of mixes, without torch) and what lies below.
"""

from __future__ import annotations

from pipeline.files import json_bytes, write_atomic
from pipeline.runs.by_clip import by_clip, read_predictions
from pipeline.runs.folder import (
    SCHEMA,
    Predictions,
    finished,
    read_config,
    read_environment,
    read_metrics,
    read_result,
    read_rows,
    unfinished,
)
from pipeline.runs.freshness import outdated, retrained_teachers
from pipeline.runs.machine import environment
from pipeline.runs.paths import cell_path
from pipeline.runs.reading import find, read
from pipeline.runs.record import (
    GENERATION,
    STEP,
    STUDENT,
    TEACHER,
    DataSet,
    Pack,
    Record,
    Result,
    settings_digest,
)
from pipeline.runs.writing import append_metrics, config_of, restart_metrics, result_of, write_finished

__all__ = [
    "GENERATION",
    "SCHEMA",
    "STEP",
    "STUDENT",
    "TEACHER",
    "DataSet",
    "Pack",
    "Predictions",
    "Record",
    "Result",
    "append_metrics",
    "by_clip",
    "cell_path",
    "config_of",
    "environment",
    "find",
    "finished",
    "json_bytes",
    "outdated",
    "read",
    "read_config",
    "read_environment",
    "read_metrics",
    "read_predictions",
    "read_result",
    "read_rows",
    "restart_metrics",
    "result_of",
    "retrained_teachers",
    "settings_digest",
    "unfinished",
    "write_atomic",
    "write_finished",
]
