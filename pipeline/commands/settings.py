"""Every setting of a preset as commented TOML, or what differs"""

from __future__ import annotations

import json

import click

from pipeline.commands.defaults import is_given
from pipeline.commands.options import json_option, preset_option, set_option
from pipeline.plurals import many

SECTION = "Looking at what there is"
ORDER = 30
EXAMPLES = ("settings", "settings --preset strong", "settings --diff default strong", "settings --diff default RUN")


@click.command()
@preset_option
@set_option("student.lr=0.002")
@click.option(
    "--diff",
    nargs=2,
    metavar="A B",
    help="What differs: presets, TOML files, and runs: their folders, or that of a mix.",
)
@json_option
def settings(preset: str, overrides: tuple[str, ...], diff: tuple[str, str] | None, as_json: bool) -> None:
    """Every setting of a preset as a TOML file: what it does, its value, its unit and where it is from.

    The file reads back as a preset: audio-rkd settings > mine.toml, then --preset mine.toml.
    """
    from pipeline.report import settings as words

    if diff:
        if overrides or is_given("preset"):
            raise click.UsageError("--diff compares two presets or runs; expected neither --preset nor --set with it")
        differing = words.differences(*diff)
        if as_json:
            rows = [{"setting": key, "a": a, "b": b} for key, a, b in differing]
            click.echo(json.dumps({"a": diff[0], "b": diff[1], "differences": rows}, indent=2, ensure_ascii=False))
        else:
            width = max((len(key) for key, _, _ in differing), default=0)
            told = [f"{key:{width}}  {words.toml_value(a)} → {words.toml_value(b)}" for key, a, b in differing]
            click.echo(
                "\n".join([f"{diff[0]} → {diff[1]}: {many(len(told), 'setting differs', 'settings differ')}", *told])
            )
    elif as_json:
        keys = ("table", "key", "value", "unit", "origin", "words")
        click.echo(
            json.dumps([dict(zip(keys, line)) for line in words.lines(preset, overrides)], indent=2, ensure_ascii=False)
        )
    else:
        click.echo(words.as_toml(preset, overrides))
