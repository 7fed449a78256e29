"""How messages name the next command: ``make features DATASET=esc50`` in a clone, ``audio-rkd features --dataset esc50`` where there is no Makefile,
or where ``audio-rkd`` itself was typed: it may be called from any folder, and the Makefile is in one.

Messages are written for make, whose goals are the commands; ``here`` is what they say where this runs.
"""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path

#: Variables of make → options; "" is an argument without one.
OPTIONS = {
    **{
        name: f"--{name.lower()}"
        for name in ("DATASET", "DATA", "PRESET", "FOLDS", "SEEDS", "DEVICE", "JOBS", "TEACHER")
    },
    **{
        "FIELDS": "--columns",
        "LOSSES": "--losses",
        "SET": "--set",
        "GENERATIONS": "--generations",
        "TO": "-o",
        "ROOT": "--root",
    },
    **dict.fromkeys(("RUN", "NAME", "SPACE", "FILES", "A", "B", "ARGS"), ""),
}

#: Variables whose words are values of their own.
SEVERAL = ("LOSSES", "SET")

GOALS = (
    "data verify features teacher distill search table3 table4 ban experiment final report settings runs compare ensemble follow inspect "
    "retrieval few-shot noise explain rerun predict teacher-file export web cost check doctor demo status calibrate prune archive"
).split()

VALUE = r"(?:\"[^\"]*\"|'[^']*'|[^\s;,:)'\"]*(?:,[^\s;,:)'\"]+)*)"
CALL = re.compile(rf"\bmake ({'|'.join(GOALS)})(?![\w-])((?: [A-Z]+={VALUE})*)")
SETUP = re.compile(rf"\bmake setup((?: [A-Z]+={VALUE})*)")
TWICE = re.compile(r"(audio-rkd [\w-]+) \(audio-rkd [\w-]+\)|'(audio-rkd [\w-]+)' \(or 'python cli\.py [\w-]+'\)")
OF_MAKE = re.compile(r" \(make: [^)]*\)|, make: [^),;]*")


@functools.cache
def in_clone() -> bool:
    """Whether the code stands in a clone, with its Makefile."""
    return (Path(__file__).parents[1] / "Makefile").is_file()


def typed() -> bool:
    """Whether the installed command was called by its name, not ``cli.py``, as make calls it."""
    return Path(sys.argv[0]).stem == "audio-rkd"  # audio-rkd.exe on Windows


def here(text: str) -> str:
    """A message as it is said where this runs."""
    return text if in_clone() and not typed() else without_make(text)


def without_make(text: str) -> str:
    """A message with commands in place of make's goals."""
    text = text.replace("make setup (or: pip install -e .)", "pip install audio-rkd")
    text = SETUP.sub("pip install --force-reinstall torch (with the index of the build)", text)
    text = CALL.sub(lambda call: " ".join(["audio-rkd", call[1], *options(call[2])]), text)
    text = OF_MAKE.sub("", TWICE.sub(lambda call: f"{call[1] or call[2]}", text))
    return re.sub(r"\bDATA=FOLDER\b", "--data FOLDER", text.replace("other LOSSES", "other --losses"))


def options(variables: str) -> list[str]:
    """``DATASET=esc50`` … as options."""
    words = []
    for name, value in re.findall(rf" ([A-Z]+)=({VALUE})", variables):
        bare = value[1:-1] if value[:1] in ("'", '"') else value
        values = bare.split() if name in SEVERAL and bare != value else [value]
        words += [f"{OPTIONS.get(name, f'--{name.lower()}')} {one}".strip() for one in values]
    return words
