"""Is a data set whole?"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from pipeline import places
from pipeline.commands.options import (
    IMAGES,
    data_option,
    dataset_option,
    json_option,
)
from pipeline.commands.showing import as_text
from pipeline.config import InputError
from pipeline.corpus import opening
from pipeline.plurals import many

SECTION = "The stages"
ORDER = 22
EXAMPLES = (
    "verify",
    "verify --dataset folder --data my-clips",
    "verify --dataset folder --data my-clips --fix",
    "verify --dataset csv --data clips.csv",
)


@click.command()
@dataset_option(IMAGES)
@data_option
@click.option(
    "--fix",
    is_flag=True,
    help="Of a folder, or a table: remove the rows of folds.csv, or of the table, whose clips are not there any more, and print them.",
)
@json_option
def verify(dataset: str, data: Path | None, fix: bool, as_json: bool) -> None:
    """Count clips, folds and classes; compare lengths with the annotations; name unreadable and extra files."""
    fixed = removed_rows(dataset, data) if fix else []
    if fixed and not as_json:
        click.echo("\n".join(fixed))
    if dataset == IMAGES:
        from pipeline.images.cifar import find_cifar100  # numpy, both: --help does without
        from pipeline.images.verification import verify_cifar100

        findings, last_checks = verify_cifar100(data or find_cifar100(places.data())), []
    else:
        from pipeline.corpus import verification  # numpy and soundfile: --help does without

        name, root = opening.chosen(dataset, data)
        findings = verification.verify(root, name)
        last_checks = checks_of(name, root)
    if as_json:
        about = {"ok": not findings.problems, **asdict(findings), "root": str(findings.root)}
        click.echo(as_text({**about, "features": last_checks, "fixed": fixed}))
    else:
        click.echo("\n".join([*last_checks, *findings.lines()]))
    if findings.problems:
        sys.exit(1)


def removed_rows(dataset: str, data: Path | None) -> list[str]:
    """A line for each row that was removed from ``folds.csv``, or from a table of clips, as it stood."""
    from pipeline.corpus import csv, is_there, removed, tables

    name, root = (IMAGES, Path()) if dataset == IMAGES else opening.chosen(dataset, data)
    if name not in ("folder", "csv"):
        raise click.UsageError(
            f"--fix mends folds.csv, which a folder of your own has; expected --dataset folder, not {name} (or csv: the table itself)"
        )
    if not is_there(name, root):
        raise opening.absent(name, root)
    if name == "csv":
        rows = removed.without(root, csv.lost(root))
        return [*(f"-        {row}" for row in rows), f"fixed    {root}: {many(len(rows), 'row')} removed"]
    table, is_lost = removed.lost_rows(root)
    rows = []
    if table.is_file():
        tables.table(table, "file", unique="file")  # what is wrong with it is told before anything is removed
        rows = removed.remove_rows(table, "file", is_lost)
    return [*(f"-        {row}" for row in rows), f"fixed    {table}: {many(len(rows), 'row')} removed"]


def checks_of(name: str, root: Path) -> list[str]:
    """A line for each folder of the corpus' features: when and how their contents were last checked."""
    from pipeline.cache import checking  # numpy: --help does without

    try:
        corpus = opening.opened(name, root).name
    except InputError:  # what is wrong with the corpus is told below
        return []
    folders = sorted({path.parent for path in (places.cache() / corpus).glob("f*/*.h5")})
    return [f"features {folder}: {checking.told(sorted(folder.glob('*.h5')))}" for folder in folders]
