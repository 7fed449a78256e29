"""Numbers that are far too large, none, or negative: every setting and every option says in one line what it takes."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import cli
from pipeline import config
from pipeline.commands.types import Numbers
from pipeline.config import InputError

SETTINGS = config.Settings()
NUMBERS = [
    f"{section}.{one.name}"
    for section in ("features", "teacher", "student")
    for one in dataclasses.fields(getattr(SETTINGS, section))
    if type(getattr(getattr(SETTINGS, section), one.name)) in (int, float) or one.name == "tuning"
]

#: What any whole number names, and what is a bound itself.
TAKEN = {
    "noise_seed": {"-1", str(10**12)},
    "teacher_seed": {str(10**12)},
    "version": {"-1"},
    "clip_norm": {str(10**12)},
}
VALUES = (str(10**12), "nan", "-1", "inf", "1e308", str(10**30), "true", "")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", VALUES)
def test_settings(name: str, value: str) -> None:
    if value in TAKEN.get(name.partition(".")[2], ()):
        config.read("demo", (f"{name}={value}",))
        return
    with pytest.raises(InputError, match=name.replace(".", r"\W+")) as caught:
        config.read("demo", (f"{name}={value}",))
    assert "\n" not in str(caught.value) and "expected" in str(caught.value)


OPTIONS = [
    (command, parameter.opts[0])
    for command in sorted(cli.main.list_commands(click.Context(cli.main)))
    for parameter in getattr(cli.main.get_command(click.Context(cli.main), command), "params", ())
    if isinstance(parameter.type, click.IntRange | click.FloatRange | Numbers | click.types.IntParamType)
]


@contextmanager
def ended_if_it_hangs() -> Iterator[None]:
    """What is counted out, instead of refused, would go on for days: an exception after two minutes."""

    def hung(*_: object) -> None:
        raise AssertionError("still at work after two minutes")

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(120)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str) -> None:
    monkeypatch.chdir(tmp_path)
    found_command = cli.main.get_command(click.Context(cli.main), command)
    assert found_command is not None
    needed = ["nowhere"] * sum(p.required and isinstance(p, click.Argument) for p in found_command.params)
    if command == "experiment":  # without a name it lists what there is
        needed = ["student"]
    corpus = ["--dataset", "esc50"] if any("--dataset" in p.opts for p in found_command.params) else []
    for value in (str(10**12), "nan", "-2", str(10**30), f"1-{10**12}", "1e308", ""):
        with ended_if_it_hangs():
            done = CliRunner().invoke(cli.main, [command, *needed, *corpus, f"{option}={value}"])
        # A choice among what is there may be of nothing.
        if done.exit_code == 0 and command == "runs":
            assert done.stdout == "0 runs\n"
            continue
        assert done.exit_code in (1, 2), (value, done.output)
        last_line = done.stderr.strip().splitlines()[-1]
        assert "fault of ours" not in done.stderr and last_line.lower().startswith("error: "), done.stderr
    assert not any(tmp_path.iterdir())
