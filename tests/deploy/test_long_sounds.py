"""Long sounds, which a second process helps with: the bits of one, and nothing of it left or told, however the command ends."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline import models
from pipeline.audio.reading import ClipError
from pipeline.config import FeatureSpec
from pipeline.deploy import prediction
from pipeline.processes import second
from tests import shipped
from tests.extracting import wait_for_end
from tests.shipped import CLASSES, SPEC, world

#: A fixture.
__all__ = ["world"]

CLI = Path(__file__).resolve().parents[2] / "cli.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")


def write_sound(path: Path, windows: int, **how: str) -> Path:
    """So many windows of ``SPEC`` and one more, which does not begin at half a clip."""
    wave = np.concatenate([shipped.sound(k % 3, k) for k in range((windows + 2) // 2)])
    soundfile.write(path, np.concatenate([wave, wave[:1000]]), SPEC.sr, **how)
    return path


def counted(monkeypatch: pytest.MonkeyPatch) -> list[second.Second]:
    """The second processes that there were, on any machine."""
    monkeypatch.setattr(second, "possible", lambda: True)
    forked: list[second.Second] = []
    real = second.Second
    monkeypatch.setattr(second, "Second", lambda *how: forked.append(real(*how)) or forked[-1])
    return forked


@pytest.mark.parametrize(("name", "spec"), [("cnn2", FeatureSpec(seconds=1)), ("cnn2", SPEC), ("resnet18", SPEC)])
def test_two_processes_give_the_bits_of_one(
    world: Any, monkeypatch: pytest.MonkeyPatch, name: str, spec: FeatureSpec
) -> None:
    """Of networks that hear four windows at once, and of those that hear one; of several that vote."""
    monkeypatch.setattr(prediction, "ALONE", 1)
    forked = counted(monkeypatch)
    (member,) = prediction.ensemble([world.student])
    members = [
        dataclasses.replace(member, network=models.network(name, spec.shape, len(CLASSES)).eval(), spec=spec)
        for _ in range(2)
    ]
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 9 * spec.samples + 2000).astype(np.float32)
    one, two = (prediction.predict(members, [sound], two_processes=two) for two in (False, True))
    assert len(forked) == 1 and forked[0].given and forked[0].alive is False and not forked[0].waiting
    assert one.logits.shape == (2, 18, len(CLASSES)) and one.times == two.times
    np.testing.assert_array_equal(one.logits, two.logits)


def test_a_sound_that_is_cut_in_the_middle_has_the_same_line(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found when all that is there has been heard: a second process is at work."""
    monkeypatch.setattr(prediction, "LONG", 0)
    forked = counted(monkeypatch)
    members = prediction.ensemble([world.student])
    path = write_sound(tmp_path / "cut.wav", 40)
    os.truncate(path, path.stat().st_size * 3 // 4)
    told: dict[bool, list[int]] = {False: [], True: []}
    lines = []
    for two in told:
        with pytest.raises(ClipError, match=r"cut\.wav: cut off; expected 10\.") as error:
            prediction.predict_file(members, path, told[two].append, two)
        lines.append(str(error.value))
    assert lines[0] == lines[1] and sum(told[False]) > 20 and len(forked) == 1


def test_a_file_of_half_a_minute_or_a_minute_is_computed_by_one_process(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork would take longer; what gives no length may be long."""
    forked = counted(monkeypatch)
    members = prediction.ensemble([world.student])
    short, long = (write_sound(tmp_path / f"{windows}.wav", windows) for windows in (30, 40))
    assert (
        prediction.ALONE * prediction.GROUP
        < len(prediction.predict_file(members, short, two_processes=True).times)
        < 40
    )
    with short.open("rb") as file:
        prediction.predict_stream(members, file, two_processes=True)
    assert not forked
    with long.open("rb") as file:
        prediction.predict_stream(members, file, two_processes=True)
    assert len(forked) == 1
    monkeypatch.setattr(prediction.sounds, "window_count", lambda *_: 1)
    prediction.predict_file(members, short, two_processes=True)
    assert len(forked) == 2


def started(run: Path, *paths: Path | str, **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CLI), "predict", str(run), *map(str, paths), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **how,
    )


def child_of(process: subprocess.Popen[str]) -> int:
    """The second process of a command, as soon as it is there."""
    for _ in range(3000):
        if children := Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            return int(children[0])
        time.sleep(0.01)
    raise AssertionError("no second process")


@pytest.fixture(scope="module")
def hours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough to be met at work."""
    path = tmp_path_factory.mktemp("long") / "hours.wav"
    wave = np.concatenate([shipped.sound(k % 3, k) for k in range(60)])
    with soundfile.SoundFile(path, "w", SPEC.sr, 1, "PCM_16") as file:
        for _ in range(120):
            file.write(wave)
    return path


two_cores = pytest.mark.skipif(not second.possible(), reason="a second process needs a second core")


@two_cores
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_both_with_one_line(world: Any, hours: Path, number: signal.Signals) -> None:
    """To the whole group, as a terminal sends it."""
    process = started(world.student, hours)
    child_of(process)
    time.sleep(0.2)
    os.killpg(process.pid, number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert (out, errors) == ("", "stopped. What was printed stands; the same command begins anew.\n")
    wait_for_end(process.pid)


@two_cores
@pytest.mark.slow
def test_the_second_process_ends_with_the_first(world: Any, hours: Path) -> None:
    process = started(world.student, hours)
    child_of(process)
    process.kill()
    out, errors = process.communicate(timeout=60)  # until nobody holds the pipes
    assert (out, errors, process.returncode) == ("", "", -signal.SIGKILL)
    wait_for_end(process.pid)


@two_cores
@pytest.mark.slow
def test_the_first_does_without_the_second(world: Any, tmp_path: Path) -> None:
    """The same answer, to the last digit, as of a command that has one core, and one whose second process lives; nothing is told."""
    path = write_sound(tmp_path / "long.wav", 300)
    said = []
    for fate in ("one core", "lives", "killed"):
        affinity = {min(os.sched_getaffinity(0))} if fate == "one core" else os.sched_getaffinity(0)
        process = started(world.student, path, preexec_fn=lambda cores=affinity: os.sched_setaffinity(0, cores))
        if fate == "killed":
            os.kill(child_of(process), signal.SIGKILL)
        out, errors = process.communicate(timeout=60)
        assert (errors, process.returncode) == ("", 0)
        said.append(json.loads(out))
        wait_for_end(process.pid)
    assert len(said[0]["windows"]) > 300
    assert said[0] == said[1] == said[2]
