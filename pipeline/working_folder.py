"""What stands in place of options that are not given: the variables ``AUDIO_RKD_…`` of the environment, and below them ``rkd.toml``.

``rkd.toml`` lies in the working folder, and may say ``dataset``, ``data``, ``preset``, ``root`` and ``plugins``; its paths are from there.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import InputError
from pipeline.spelling import suggestion

FILE = Path("rkd.toml")

#: What may stand there, with an example.
KEYS = {
    "dataset": 'dataset = "folder"',
    "data": 'data = "my-clips"',
    "preset": 'preset = "small"',
    "root": 'root = "results"',
    "plugins": 'plugins = ["my-plugins"]',
}
PATHS = ("data", "root", "plugins")

#: Of ``--dataset``: what it is where nobody says.
AUTO = "auto"


#: Who set a variable of this process: ``--root``, ``rkd.toml``; of others it is the environment itself.
set_by: dict[str, str] = {}


class Default(NamedTuple):
    """What an option is where the command line does not say, and who says so."""

    value: Any
    """Text; of ``plugins`` a tuple of it."""
    source: str


def variable(key: str) -> str:
    return f"AUDIO_RKD_{key.upper()}"


def defaults() -> dict[str, Default]:
    """Key → what it is by the environment, else by ``rkd.toml``; keys that neither names are absent.

    A folder of data is of the data set that it stands beside: where the environment names another one, the file's is left out.
    Raises ``InputError``, one line, for a file that is not TOML, an unknown key, or a value of the wrong type.
    """
    file, variables = of_file(FILE), of_environment(os.environ)
    if "dataset" in variables and not same(variables["dataset"].value, file.get("dataset")):
        file.pop("data", None)
    return file | variables


def same(dataset: str, default: Default | None) -> bool:
    """Whether a data set is the one that ``default`` means: without any, a folder is UrbanSound8K, and a table one of clips."""
    return dataset in {default.value} if default else dataset in (AUTO, "urbansound8k", "csv")


def of_environment(environment: Mapping[str, str]) -> dict[str, Default]:
    """Of variables; an empty one is none."""
    named = {key: environment.get(variable(key), "") for key in KEYS}
    return {
        key: Default(tuple(text.split(os.pathsep)) if key == "plugins" else text, set_by.get(key, variable(key)))
        for key, text in named.items()
        if text
    }


def of_file(path: Path) -> dict[str, Default]:
    """Of ``rkd.toml``; nothing where there is none."""
    if not path.exists():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or a number of thousands of digits
        raise InputError(f"{path}: not a TOML file: {error}") from None
    return {key: Default(checked(path, key, value), str(path)) for key, value in values.items()}


def checked(path: Path, key: str, value: Any) -> Any:
    """The value of a key; ``InputError`` for a key that is unknown, and for a value that is no such thing."""
    if key not in KEYS:
        near = suggestion(key, KEYS)
        raise InputError(f"{path}: unknown key {key!r}{near or ';'} expected some of {', '.join(KEYS)}")
    texts = value if key == "plugins" and isinstance(value, list) else [value]
    are_texts = all(isinstance(text, str) and text and "\0" not in text for text in texts)  # no path has a zero byte
    if (key == "plugins" and not isinstance(value, list)) or not are_texts:
        raise InputError(f"{path}: {key} = {value!r}: expected for example {KEYS[key]}")
    if key in PATHS:
        texts = [os.path.expanduser(text) for text in texts]  # noqa: PTH111 (as text)
    return tuple(texts) if key == "plugins" else texts[0]


def preset() -> str:
    """The preset where no option and no experiment names one."""
    named = defaults().get("preset")
    return named.value if named else "default"


def lines() -> list[str]:
    """For people: a line for each source, with what it says."""
    by_source: dict[str, list[str]] = {}
    for key, default in defaults().items():
        value = ", ".join(default.value) if key == "plugins" else default.value
        by_source.setdefault(default.source, []).append(f"{key} = {value}")
    return [f"{source}: {'; '.join(words)}" for source, words in by_source.items()]


@contextmanager
def variable_set(key: str, value: str, source: str) -> Iterator[None]:
    """While the block runs, here and in processes that it starts, the variable of a key is ``value``."""
    name, before = variable(key), (os.environ.get(variable(key)), set_by.get(key))
    os.environ[name] = value
    set_by[key] = source
    try:
        yield
    finally:
        restore(os.environ, name, before[0])
        restore(set_by, key, before[1])


def restore(values: MutableMapping[str, str], name: str, before: str | None) -> None:
    if before is None:
        values.pop(name, None)
    else:
        values[name] = before
