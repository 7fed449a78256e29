"""Where a run of stages two and three lies."""

from __future__ import annotations

from pathlib import Path

from pipeline import config
from pipeline.config import InputError
from pipeline.runs.record import STUDENT, TEACHER, settings_digest


def cell_path(
    root: Path, corpus: str, role: str, settings: config.Settings, mix_slug: str | None, fold: int, seed: int
) -> Path:
    """``root/<corpus>/<role>-<model>-<preset>-<digest>/[<mix slug>/]fold{k}-seed{s}``."""
    if role not in (TEACHER, STUDENT):
        raise InputError(f"role {role!r}: expected teacher or student")
    if (mix_slug is None) != (role == TEACHER):
        raise InputError(f"mix {mix_slug!r} of a {role}: a student's run has a mix of losses, a teacher's none")
    parts = {"features": settings.features, "teacher": settings.teacher, "student": settings.student}
    model = getattr(settings, role).model
    group = root / corpus / f"{role}-{model}-{settings.preset}-{settings_digest(role, parts)}"
    return (group / mix_slug if mix_slug else group) / f"fold{fold}-seed{seed}"
