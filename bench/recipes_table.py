"""The table of ``bench.recipes``: the figures of the product's own reports, and what became of the killed runs."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.killed import KILLS
from pipeline.experiments import files, reading
from pipeline.losses import LossMix

HEADING = "## Every recipe, killed three times"
WITH_BASE = "accuracy with its base"
BLANK = "–"


def rows_of(place: Path, corpus: str, recipe: str, printed: str) -> list[dict[str, Any]]:
    """A recipe's rows as its own report has them. ``printed``: what the command printed, in which they all stand."""
    rows = []
    for line in table(place / "reports" / corpus / f"experiment-{recipe}.csv"):
        row = figures(line["experiment"], line)
        if line["experiment"] not in printed:
            raise RuntimeError(f"{recipe}: the printed table lacks {line['experiment']}")
        rows.append(row | with_base(place, corpus, recipe, line["experiment"]))
    return rows


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def figures(name: str, line: Mapping[str, str]) -> dict[str, Any]:
    row = {"row": name, "model": line["model"], "n": int(line["n"]), "at_chance": int(line["at_chance"] or 0)}
    return row | {key: float(line[key]) if line[key] else None for key in ("mean_percent", "sd_folds")}


def with_base(place: Path, corpus: str, recipe: str, name: str) -> dict[str, Any]:
    """Accuracies of an assistant and its student together, whose own says nothing."""
    note = json.loads((place / "runs" / corpus / f"experiment-{recipe}" / "experiment.json").read_text())
    together = []
    for entry in note["rows"]:
        for path in (place / entry["folder"]).glob("fold*/result.json") if entry["row"] == name else ():
            terms = json.loads(path.read_text()).get("terms", {})
            together += [100 * values[WITH_BASE] for values in terms.values() if WITH_BASE in values]
    if not together:
        return {}
    spread = statistics.stdev(together) if len(together) > 1 else None
    return {"mean_percent": statistics.mean(together), "sd_folds": spread, "n": len(together), "with_base": True}


def baselines(place: Path, corpus: str) -> list[dict[str, Any]]:
    """The fold's own teacher, the student on labels alone, and ``soft``, of the report."""
    names = {"": "the fold's own teacher", str(LossMix.parse("ce")): "student on labels alone"}
    names[str(LossMix.parse("soft"))] = "`soft`, the baseline"
    lines = [one for one in table(place / "reports" / corpus / "table.csv") if one["role"] in ("teacher", "student")]
    by_settings: dict[str, dict[str, dict[str, str]]] = {}
    for line in lines:
        by_settings.setdefault(line["settings"], {})[line["mix"]] = line
    # A recipe's teachers and students of other settings have the same mixes: only the preset's own are all three in one place.
    whole = [of_mix for of_mix in by_settings.values() if set(names) <= set(of_mix)]
    return [figures(name, of_mix[mix]) for of_mix in whole[:1] for mix, name in names.items()]


def in_words(ended: Mapping[str, Any]) -> str:
    if "refused" in ended:
        return f"refused: {ended['refused']}"
    rows = ", ".join(f"{row['row']} {number(row['mean_percent'])}" for row in ended["rows"])
    return f"{bits(ended)}; {rows}; {ended['seconds']:.0f} s, undisturbed {ended['alone_seconds']:.0f} s for one fold"


def bits(ended: Mapping[str, Any]) -> str:
    """Whether the bits are the same, of how many runs, and after how many kills where these were not three."""
    kills = len(ended["kills"])
    after = "" if kills == KILLS else f", after {kills} {'kill' if kills == 1 else 'kills'}"
    if not ended["different"]:
        return f"yes ({ended['compared']} runs{after})"
    return f"**no** ({', '.join(ended['different'][:3])}{after})"


def number(value: float | None) -> str:
    return BLANK if value is None else f"{value:.1f}"


def text(
    recorded: Mapping[str, Mapping[str, Any]], beside: Sequence[Mapping[str, Any]], about: Mapping[str, Any]
) -> str:
    lines = [HEADING, "", caption(recorded, about), ""]
    lines += ["| recipe | network | accuracy, % | SD over folds | n | minutes | same bits after three kills |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | --- |"]
    lines += [cells(row["row"], row, "", "") for row in beside]
    titles = files.titles()
    for name, ended in recorded.items():
        words = f"`{name}`: {titles[name]}"
        if "refused" in ended:
            lines.append(f"| {words} | | refused: {ended['refused']} | | | | |")
            continue
        several = len(ended["rows"]) > 1
        for place, row in enumerate(ended["rows"]):
            step = row["row"].removeprefix(f"{name}/") if several else ""
            title = (words if place == 0 else f"`{name}`") + (f" – {step}" if step else "")
            minutes, same = (f"{ended['seconds'] / 60:.1f}", bits(ended)) if place == 0 else ("", "")
            lines.append(cells(title, row, minutes, same))
    return "\n".join([*lines, ""])


def cells(title: str, row: Mapping[str, Any], minutes: str, same: str) -> str:
    mark = " ‡" if row.get("with_base") else ""
    mean, spread = number(row["mean_percent"]) + mark, number(row["sd_folds"])
    return f"| {title} | {row['model']} | {mean} | {spread} | {row['n']} | {minutes} | {same} |"


def caption(recorded: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any]) -> str:
    corpus, folds = about["data"], about["folds"]
    clips = len(corpus.clips)
    seconds = sum(ended.get("seconds", 0) + ended.get("alone_seconds", 0) for ended in recorded.values())
    kills = sum(len(ended.get("kills", [])) for ended in recorded.values())
    with_settings = [
        f"`{name}` with `--set {' '.join(words)}`" for name, words in about["own"].items() if name in recorded
    ]
    fixed = [
        name for name in recorded if any("epochs" in dict(step.settings) for step in reading.read(name).steps.values())
    ]
    sets = " ".join(f"--set {word}" for word in about["set"])
    lines = [
        f"Measured by `python -m bench.recipes --data FOLDER --work DIR` on {corpus.name}, {clips:,} clips of folds {', '.join(map(str, corpus.folds))}; held out one by one: "
        f"{', '.join(map(str, folds))}; seed 0; last epoch. Settings: `--preset {about['preset']} {sets}`"
        + (f"; {', '.join(with_settings)}" if with_settings else "")
        + (f". Steps of {', '.join(fixed)} have numbers of epochs of their own" if fixed else "")
        + ". **So few clips and epochs rank nothing**: the figures show that each recipe runs to its end; a row near chance learned nothing in them.",
        "",
        f"Each recipe's command was killed (`kill -9` of the whole process group) at three random moments, {kills} kills in all, and gone on with; of the "
        f"first held-out fold, weights, predictions and curves of all its runs were then compared with those of an undisturbed run. Minutes: of the killed "
        f"command, all starts counted; in all {seconds / 60:.0f} minutes, undisturbed runs among them. Accuracies are those that "
        "`experiment` and `report` print; "
        f"{BLANK}: no term is on the outputs, so that they name classes by chance. ‡: the assistant together with its student.",
    ]
    return "\n".join(lines)


def put(document: Path, table_text: str) -> None:
    """The table in a document: in place of its section, else at the end."""
    before, heading, rest = document.read_text(encoding="utf-8").partition(HEADING)
    _, following, after = rest.partition("\n## ") if heading else ("", "", "")
    document.write_text(before.rstrip("\n") + "\n\n" + table_text + (following + after), encoding="utf-8")
