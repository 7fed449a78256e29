"""Where a run of stages two and three lies."""

from __future__ import annotations

from pathlib import Path

from pipeline import config
from pipeline.config import InputError
from pipeline.runs.record import STUDENT, TEACHER, settings_digest

#: Bytes of a file's name that file systems take, and what is kept of a longer one.
LONGEST, KEPT = 255, 120


def named_in_path(name: str, beside: int = 0) -> str:
    """A name of a folder; of one that no file system takes, of a mix of very many terms, its beginning and a digest of all of it.

    ``beside``: bytes that are put around it.
    """
    if len(name.encode()) <= LONGEST - beside:
        return name
    return f"{name.encode()[:KEPT].decode(errors='ignore')}-{config.digest(name)}"


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
    return (group / named_in_path(mix_slug) if mix_slug else group) / f"fold{fold}-seed{seed}"
