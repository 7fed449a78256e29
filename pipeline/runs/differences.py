"""What differs between the records of runs: settings, data, versions, how they were trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from pipeline.runs.damage import spared
from pipeline.runs.folder import read_environment
from pipeline.runs.record import Record


def differences(a: Sequence[Record], b: Sequence[Record]) -> list[tuple[str, str, str]]:
    """(key, A's value, B's value) of everything recorded that differs: settings, data, versions, how it was trained."""
    left, right = values(a), values(b)
    gone = "–"
    return [
        (key, left.get(key, gone), right.get(key, gone))
        for key in dict.fromkeys([*left, *right])
        if left.get(key, gone) != right.get(key, gone)
    ]


def values(records: Sequence[Record]) -> dict[str, str]:
    """Key → the values that the records have there, each once, in order."""
    by_key: dict[str, dict[str, None]] = {}
    for record in records:
        environment = spared(partial(read_environment, record.folder)) or {}
        pack = {name: getattr(record.pack, name) for name in ("runs", "layout", "device", "threads")}
        pack["teachers"] = "live" if record.pack.live else ""
        parts = {
            **{name: getattr(record, name) for name in ("role", "model", "preset")},
            "settings": record.recorded_settings,
            **{name: getattr(record, name) for name in ("data", "skipped", "classes")},
            "mix": record.mix_text,
            "plugins": {name: digest[:12] for name, digest in record.plugins.items()},
            "generation": record.generation,
            "pack": {name: value for name, value in pack.items() if value not in (None, "")},
            "python": environment.get("python"),
            "packages": environment.get("packages"),
            "commit": environment.get("commit"),
        }
        for key, value in flat(parts):
            by_key.setdefault(key, {})[value] = None
    return {key: ", ".join(sorted(each)) for key, each in by_key.items()}


def flat(value: Any, key: str = "") -> Iterable[tuple[str, str]]:
    if not isinstance(value, Mapping):
        text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        # Digests of data: the first digits tell them apart.
        yield key, text[:12] if key.startswith("data.") or key == "commit" else text
        return
    for name, item in value.items():
        yield from flat(item, f"{key}.{name}" if key else str(name))
