"""The one exception that is for people: its message is what they are shown."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave is wrong. The message names the value, what was expected and the remedy."""


class Damaged(InputError):
    """A file that is not what was written: damaged, of another run, or gone."""
