"""Every recipe by the real command line: killed three times at random moments, gone on, compared with an undisturbed run, reported.

    python -m bench.recipes --dataset urbansound8k --data FOLDER --work DIR [--folds 1-3] [--set TABLE.KEY=VALUE]… [--to docs/recipes.md]

All happens in DIR, which is to lie outside of the repository: ``killed`` has the runs of all folds, whose process group gets ``kill -9``
three times per recipe and which the same command then goes on with; ``alone`` has the first fold's runs, undisturbed. Weights, predictions
and curves of that fold are compared bit for bit. The fold's own teachers, ``soft`` and labels alone are trained before, so that the kills
fall into a recipe's own steps. ``record.jsonl`` has a line for all that ended: stop at any time, the same command goes on.

Left out: ``teacher`` and ``student`` (the stages themselves), ``table4`` (of images), ``terms`` and ``terms-strong`` (docs/terms.md), and
``survey``, whose recipes are all here one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import killed, recipes_table
from bench.commands import numbers
from pipeline import config
from pipeline.config import InputError, Settings
from pipeline.corpus import Corpus, open_corpus
from pipeline.experiments import files, planning, reading
from pipeline.runs.planned import PlannedRun

LEFT_OUT = ("teacher", "student", "table4", "terms", "terms-strong", "survey")

#: Few epochs, so that all of it ends within an hour; a recipe's own numbers of epochs stay.
SHORT = ("teacher.epochs=4", "teacher.step_epochs=3", "student.epochs=5", "student.step_epochs=4")

#: What a recipe asks for beside the settings of all: its students listen to their teacher until epoch 10; labels that are hidden.
OWN = {
    "early-teacher": ("student.epochs=10", "student.step_epochs=7"),
    "noisy-student": ("unlabelled=0.8",),
}

#: Saved every few seconds, so that a kill costs seconds of such short trainings.
OFTEN = ("--checkpoint-minutes", "0.05")


class Bench:
    """What is asked for, and the record of what ended."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen, self.work = chosen, chosen.work.resolve()
        self.data = chosen.data.resolve()
        self.corpus: Corpus = open_corpus(chosen.dataset, self.data)
        self.folds = tuple(chosen.folds or self.corpus.folds)
        self.set = tuple(chosen.set or SHORT)
        self.record = self.work / "record.jsonl"
        self.of_corpus = ("--dataset", chosen.dataset, "--data", str(self.data))
        for place in ("killed", "alone"):
            (self.work / place).mkdir(parents=True, exist_ok=True)
        if not (cache := self.work / "alone" / "cache").is_symlink():
            cache.symlink_to(self.work / "killed" / "cache")
        asked = [chosen.dataset, str(self.data), chosen.preset, list(self.set), list(self.folds), chosen.seed]
        before = self.events("asked")
        if before and before[0]["asked"] != asked:
            raise InputError(f"{self.record} is of {before[0]['asked']}, asked for is {asked}; expected another --work")
        if not before:
            self.note(event="asked", asked=asked)

    def note(self, **event: Any) -> None:
        with self.record.open("a") as file:
            file.write(json.dumps(event) + "\n")

    def events(self, kind: str, recipe: str = "") -> list[dict[str, Any]]:
        lines = self.record.read_text().splitlines() if self.record.is_file() else []
        events = []
        for line in lines:
            try:
                events.append(json.loads(line))
            except ValueError:  # the line that a stop cut
                continue
        return [one for one in events if one["event"] == kind and one.get("recipe", "") in (recipe, "")]

    def done(self) -> dict[str, dict[str, Any]]:
        """Recipe → the line of its end."""
        return {str(one["recipe"]): one for one in self.events_of_all("done")}

    def events_of_all(self, kind: str) -> list[dict[str, Any]]:
        return [one for recipe in self.recipes() for one in self.events(kind, recipe)]

    def recipes(self) -> list[str]:
        names = [name for name in files.titles() if name not in LEFT_OUT]
        if unknown := set(self.chosen.only) - set(names):
            raise InputError(f"--only {', '.join(sorted(unknown))}: expected some of {', '.join(names)}")
        return names

    def wanted(self) -> list[str]:
        """The recipes that are still to be run, in their order."""
        done = self.done()
        left = [name for name in self.recipes() if name not in done and name in (self.chosen.only or self.recipes())]
        return left[: self.chosen.limit]

    def options(self, recipe: str = "", folds: Sequence[int] | None = None) -> list[str]:
        sets = [word for text in (*self.set, *OWN.get(recipe, ())) for word in ("--set", text)]
        held_out = ["--folds", ",".join(map(str, folds or self.folds))]
        return [*self.of_corpus, "--preset", self.chosen.preset, *sets, *held_out]

    def settings(self, recipe: str) -> Settings:
        wanted = config.read(self.chosen.preset, (*self.set, *OWN.get(recipe, ())))
        return config.for_corpus(wanted, self.corpus.seconds)

    def planned(self, recipe: str, folds: Sequence[int]) -> list[PlannedRun]:
        """The runs of a recipe, their folders relative to where its command is called."""
        levels, _ = planning.plan(reading.read(recipe), self.settings(recipe), self.corpus.name, folds=folds, seeds=[0])
        return [run for level in levels for run in level.runs]

    def called(self, place: str, *words: str) -> tuple[float, str]:
        """(seconds, what it printed) of a command that ends by itself; ``RuntimeError``, its last words, where it fails."""
        started = time.monotonic()
        ended = subprocess.run(killed.command(*words), cwd=self.work / place, capture_output=True, text=True)
        if ended.returncode:
            raise RuntimeError((ended.stderr.strip() or ended.stdout.strip() or "no word").splitlines()[-1])
        return time.monotonic() - started, ended.stdout


def baselines(bench: Bench) -> None:
    """Features, the folds' own teachers, ``soft`` and labels alone, and the report of them."""
    if bench.events("baselines"):
        return
    without_folds = bench.options()[:-2]
    bench.called("killed", "features", *without_folds)
    rates(bench)
    bench.called("killed", "teacher", *bench.options())
    bench.called("killed", "distill", "--losses", "soft", "--losses", "ce", *bench.options())
    bench.called("killed", "report", *bench.of_corpus, "--no-page")
    bench.note(event="baselines")


def rates(bench: Bench) -> dict[str, float]:
    """Network's table → seconds of one epoch of one run, and ``start``: those of a command beside them. Measured once."""
    if before := bench.events("rates"):
        return dict(before[0]["rates"])
    place = "rates"
    (bench.work / place).mkdir(exist_ok=True)
    if not (cache := bench.work / place / "cache").is_symlink():
        cache.symlink_to(bench.work / "killed" / "cache")
    short = ["--set", "teacher.epochs=1", "--set", "student.epochs=1"]
    seconds, _ = bench.called(place, "experiment", "student", *bench.options(folds=bench.folds[:1]), *short)
    measured = {}
    for path in (bench.work / place / "runs").rglob("result.json"):
        result, about = json.loads(path.read_text()), json.loads((path.parent / "config.json").read_text())
        measured[str(about["role"])] = float(result["seconds"])
    measured["start"] = max(1.0, seconds - sum(measured.values()))
    bench.note(event="rates", rates=measured)
    return measured


def estimate(bench: Bench, recipes: Sequence[str]) -> float:
    """Seconds that the recipes will take: epochs of both places by ``rates``, and the starts of six commands each."""
    rate, cores = rates(bench), os.cpu_count() or 1
    seen: set[Path] = {path.parent.relative_to(bench.work) for path in bench.work.rglob("result.json")}
    seconds = 0.0
    for recipe in recipes:
        for place, folds in (("killed", bench.folds), ("alone", bench.folds[:1])):
            by_network = 0.0
            try:
                planned = bench.planned(recipe, folds)
            except InputError:  # its command will say so, and ends at once
                continue
            for run in planned:
                if Path(place) / run.folder not in seen:
                    seen.add(Path(place) / run.folder)
                    kind = "student" if run.network.model == bench.settings(recipe).student.model else "teacher"
                    by_network += rate[kind] * run.network.epochs
            seconds += by_network / min(cores, len(folds))
        seconds += (killed.KILLS + 2) * rate["start"]
    return seconds


def one(bench: Bench, recipe: str) -> dict[str, Any]:
    """A recipe undisturbed, then killed and gone on with; what is noted of it."""
    first = bench.folds[:1]
    try:
        alone, _ = bench.called("alone", "experiment", recipe, *bench.options(recipe, first))
    except RuntimeError as error:
        return {"refused": str(error).removeprefix("error: ")}
    place = bench.work / "killed"
    words = ("experiment", recipe, *bench.options(recipe), *OFTEN)
    folders = [place / run.folder for run in bench.planned(recipe, bench.folds)]
    epochs = sum(run.network.epochs for run in bench.planned(recipe, bench.folds))
    left = killed.KILLS - len(bench.events("kill", recipe))
    for moment in killed.run(words, place, folders, epochs, left, f"{bench.chosen.seed} {recipe} {left}"):
        bench.note(event="kill", recipe=recipe, **moment)
    seconds, printed = bench.called("killed", *words)
    kills = bench.events("kill", recipe)
    runs = [run.folder for run in bench.planned(recipe, first)]
    different = killed.differing(bench.work / "alone", place, runs)
    return {
        "alone_seconds": round(alone, 1),
        "seconds": round(seconds + sum(moment["seconds"] for moment in kills), 1),
        "kills": [moment["in"] for moment in kills],
        "compared": len(runs),
        "different": different,
        "rows": recipes_table.rows_of(place, bench.corpus.name, recipe, printed),
    }


def finish(bench: Bench) -> None:
    """The report of all that is there, and the table."""
    if not bench.done():
        return
    _, printed = bench.called("killed", "report", *bench.of_corpus, "--no-page")
    absent = [row["row"] for one in bench.done().values() for row in one.get("rows", []) if row["row"] not in printed]
    if absent:
        print(f"report does not show {', '.join(absent)}", file=sys.stderr)
    about: Mapping[str, Any] = {
        "data": bench.corpus,
        "folds": bench.folds,
        "preset": bench.chosen.preset,
        "set": bench.set,
        "own": OWN,
    }
    recorded = {name: bench.done()[name] for name in bench.recipes() if name in bench.done()}
    text = recipes_table.text(recorded, recipes_table.baselines(bench.work / "killed", bench.corpus.name), about)
    print(text)
    if bench.chosen.to:
        recipes_table.put(bench.chosen.to, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="urbansound8k")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="outside of the repository")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--set", action="append", default=[], help=f"in place of {' '.join(SHORT)}")
    parser.add_argument("--folds", type=numbers, help="for example 1-3")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=[], help="recipes, for example fitnets,self"
    )
    parser.add_argument("--limit", type=int, help="at most so many recipes in this call")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--to", type=Path, help="the document that gets the table")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped; the same command goes on"))
    try:
        bench = Bench(chosen)
        baselines(bench)
        wanted = bench.wanted()
        seconds = estimate(bench, wanted)
        print(f"{len(wanted)} recipes, about {seconds / 60:.0f} minutes: {', '.join(wanted)}", flush=True)
        for place, recipe in enumerate(wanted, 1):
            ended = one(bench, recipe)
            bench.note(event="done", recipe=recipe, **ended)
            rest = estimate(bench, wanted[place:]) / 60
            print(f"{recipe}: {recipes_table.in_words(ended)}; about {rest:.0f} min left", flush=True)
        finish(bench)
    except (InputError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")


if __name__ == "__main__":
    main()
