"""A finding of ``doctor``: what was seen of one subject, and what to do where it is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline import goals
from pipeline.config import InputError
from pipeline.spelling import one_line

SETUP = "make setup (or: pip install -e .)"


@dataclass(frozen=True)
class Finding:
    """What was found of one subject; ``remedy`` is "" where all is well."""

    subject: str
    text: str
    remedy: str = ""

    def line(self) -> str:
        mark = "BROKEN  " if self.remedy else "ok      "
        remedy = f"\n{'':21}→ {one_line(goals.here(self.remedy))}" if self.remedy else ""
        return one_line(f"{mark}{self.subject:<12} {goals.here(self.text)}") + remedy


def examined(subject: str, check: Callable[[], str], remedy: str) -> Finding:
    """The check's answer; what it raises is the finding of something broken."""
    try:
        return Finding(subject, check())
    except InputError as error:
        return Finding(subject, str(error), remedy)
    except Exception as error:  # whatever a broken library raises
        reason = (str(error).strip().splitlines() or [""])[0]
        return Finding(subject, f"{type(error).__name__}: {reason}", remedy)
