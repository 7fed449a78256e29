"""What differs between the records of runs: settings, data, versions, how they were trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.losses.mix import canonical
from pipeline.runs.folder import Record, read_environment


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
    found: dict[str, dict[str, None]] = {}
    for record in records:
        about, made = record.config, read_environment(record.folder)
        pack = {
            k: v for k, v in about.get("pack", {}).items() if k in ("device", "layout", "threads", "runs")
        }
        parts = {
            **{k: about[k] for k in ("role", "model", "preset", "settings", "data", "skipped", "classes")},
            "mix": canonical(about["mix"]), "generation": about.get("generation", 0), "pack": pack,
            "python": made["python"], "packages": made["packages"], "commit": made.get("commit"),
        }  # fmt: skip
        for key, value in flat(parts):
            found.setdefault(key, {})[value] = None
    return {key: ", ".join(sorted(each)) for key, each in found.items()}


def flat(value: Any, key: str = "") -> Iterable[tuple[str, str]]:
    if not isinstance(value, Mapping):
        text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        # Digests of data: the first digits tell them apart.
        yield key, text[:12] if key.startswith("data.") or key == "commit" else text
        return
    for name, item in value.items():
        yield from flat(item, f"{key}.{name}" if key else str(name))
