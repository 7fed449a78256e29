"""Is everything there and working?"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from pipeline import config, corpus, goals, places, working_folder
from pipeline.commands.options import corpus_options, json_option
from pipeline.config import InputError
from pipeline.corpus import opening

SECTION = "First steps"
ORDER = 12
EXAMPLES = ("doctor", "doctor --json", "doctor --torch cuda")


@click.command()
@corpus_options
@json_option
@click.option(
    "--torch",
    "build",
    type=click.Choice(["cpu", "cuda"]),
    help="Only this: is the installed torch such a build?",
)
def doctor(dataset: str, data: Path | None, as_json: bool, build: str | None) -> None:
    """Is everything there and working? Libraries, device, folders, corpora, caches, runs, and what comes next.

    Exit code 1, and the remedy, where something is broken.
    """
    from pipeline.report import diagnosis, status  # torch: --help does without

    if build:
        click.echo(diagnosis.require_build(build))
        return
    roots = {name: opening.chosen(name, None)[1] for name in corpus.names() if name != "esc10" and corpus.places(name)}
    named = ""
    if data is not None or dataset != "auto":
        name, roots[name] = opening.chosen(dataset, data)
        named = name if data is not None else ""
    findings = diagnosis.findings(roots, places.data(), places.cache(), places.runs(), places.reports(), named)
    broken = [finding for finding in findings if finding.remedy]
    try:
        following = (
            status.status(dataset, data, config.read(working_folder.preset()))
            .splitlines()[-1]
            .removeprefix("next")
            .strip()
        )
    except (InputError, ImportError, OSError):
        following = "what is broken above"
    if as_json:
        listed = [
            {"subject": f.subject, "ok": not f.remedy, "text": goals.here(f.text), "remedy": goals.here(f.remedy)}
            for f in findings
        ]
        click.echo(json.dumps({"ok": not broken, "findings": listed, "next": following}, indent=2))
    else:
        click.echo("\n".join(finding.line() for finding in findings))
        click.echo(f"next    {following}")
        click.echo(f"{len(broken)} of {len(findings)} broken" if broken else "all well")
    if broken:
        sys.exit(1)
