"""Is a data set whole?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipeline.commands.options import (
    DATASETS,
    IMAGES,
    data_option,
    dataset_option,
)
from pipeline.corpus import opening
from pipeline.files import DATA

SECTION = "The stages"
ORDER = 22
EXAMPLES = ("verify", "verify --dataset folder --data my-clips")


@click.command()
@dataset_option(choices=(*DATASETS, IMAGES))
@data_option
def verify(dataset: str, data: Path | None) -> None:
    """Count clips, folds and classes; compare lengths with the annotations; name unreadable and extra files."""
    if dataset == IMAGES:
        from pipeline.images.cifar import find_cifar100  # numpy, both: --help does without
        from pipeline.images.verification import verify_cifar100

        findings = verify_cifar100(data or find_cifar100(DATA))
    else:
        from pipeline.corpus import verification  # numpy and soundfile: --help does without

        name, root = opening.chosen(dataset, data)
        findings = verification.verify(root, name)
    click.echo("\n".join(findings.lines()))
    if findings.problems:
        sys.exit(1)
