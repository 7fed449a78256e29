"""What takes how much room, and removal of what no table uses."""

from __future__ import annotations

import json

import click

from pipeline import places
from pipeline.commands.options import corpus_option, json_option
from pipeline.plurals import many

SECTION = "Looking at what there is"
ORDER = 39.5
EXAMPLES = ("prune", "prune --remove runs --remove checkpoints", "prune --remove all --dry-run")

#: As ``report.disk`` has them; its import would make --help slow.
KINDS = ("features", "teacher-files", "runs", "checkpoints", "repetitions", "leftovers")


@click.command()
@corpus_option
@click.option(
    "--remove",
    "kinds",
    multiple=True,
    type=click.Choice([*KINDS, "all"]),
    help="Remove what nothing uses of this kind; may be repeated. features: those of no run; runs: those of no table, and those that were "
    "begun and cannot go on; checkpoints: of finished runs; repetitions: of rerun; leftovers: half-written files of processes that ended.",
)
@click.option("--dry-run", is_flag=True, help="With --remove: only list what would go.")
@json_option
def prune(corpus: str | None, kinds: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """What takes how much room in cache/ and runs/, and what uses it; without --remove nothing is changed.

    Never removed: what a table uses or goes back to, what is locked by a command that runs, what a stopped command goes on from, what
    cannot be read; data, reports, exports, final students.
    """
    from pipeline.report import disk, pruning  # numpy and h5py: --help does without

    cache, runs = places.cache(), places.runs()
    items = disk.survey(cache, runs, (places.reports(), places.exports(), places.finals()), corpus)
    wanted = KINDS if "all" in kinds else kinds
    chosen = pruning.chosen(items, wanted)
    if kinds and not dry_run:
        pruning.require_locks([cache, runs])
        chosen = pruning.remove(
            chosen, lambda: disk.survey(cache, runs, (), corpus), lambda line: click.echo(line, err=True)
        )
    shown = chosen if kinds else items
    if as_json:
        click.echo(json.dumps(pruning.as_json(shown), indent=2))
    elif kinds:
        done = "would be removed" if dry_run else "removed"
        lines = [f"{done}: {one.path} ({pruning.bytes_text(one.bytes)}; used by {one.use})" for one in chosen]
        click.echo(
            "\n".join(
                [
                    *lines,
                    f"{done}: {many(len(chosen), 'thing')}, {pruning.bytes_text(sum(one.bytes for one in chosen))}",
                ]
            )
        )
    else:
        click.echo(pruning.text(items))
