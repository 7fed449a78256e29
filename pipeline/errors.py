"""The one exception that is for people: its message is what they are shown."""

from __future__ import annotations

from pipeline import goals


class InputError(ValueError):
    """Something the user gave is wrong. The message names the value, what was expected and the remedy."""

    def __str__(self) -> str:
        return goals.here(super().__str__())


class Damaged(InputError):
    """A file that is not what was written: damaged, of another run, or gone."""
