"""The examples in C and JavaScript: compiled and run where the compiler, the library and the package are; what ``predict`` says."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import types
from pathlib import Path

import onnxruntime
import pytest
import soundfile

from pipeline.deploy import export, prediction
from pipeline.deploy.web import runtime
from tests import shipped

SPEC = dataclasses.replace(shipped.SPEC, tuning=0.0, floor=1e-5)
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COMPILER = shutil.which("cc")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """An export for two rates, and sounds with their classes and percentages by ``predict``."""
    root = tmp_path_factory.mktemp("examples")
    run = shipped.write_run(root, shipped.write_corpus(root, SPEC))
    folder, _ = export.export(run, root / "cache", root / "exports", rates=(44100,), data=root / "data" / "fold1")
    member, expected = prediction.checkpoint(run), {}
    for label, (name, rate) in enumerate((("a.wav", 22050), ("b.wav", 44100), ("c.wav", 22050))):
        path = root / name
        soundfile.write(path, shipped.sound(label, 3, rate // 2), rate, subtype="PCM_16")
        probabilities = prediction.predict_file([member], path).probabilities.mean(axis=0)
        expected[path] = (shipped.CLASSES[probabilities.argmax()], 100 * probabilities.max())
    return types.SimpleNamespace(root=root, folder=folder, expected=expected)


def assert_said(line: str, path: Path, expected: tuple[str, float]) -> None:
    name, answer = line.split("   ")
    label, share, _ = answer.split(" ")
    assert (name, label) == (str(path), expected[0]) and float(share) == pytest.approx(expected[1], abs=0.1)


def exchanged(folder: Path, place: Path) -> Path:
    """A copy of an export whose one file is that of another rate."""
    copy = shutil.copytree(folder, place / "exchanged")
    shutil.copy(copy / "student-sound.44100.onnx", copy / "student-sound.onnx")
    return copy


def test_they_are_short() -> None:
    assert all(
        len((EXAMPLES / name).read_text().splitlines()) < 60 for name in ("sound_student.c", "sound_student.mjs")
    )


def test_c(world, tmp_path: Path) -> None:
    """With the library that onnxruntime's wheel brings; its header is a development package's."""
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"), None)
    if COMPILER is None or library is None:
        pytest.skip("no C compiler, or no libonnxruntime in onnxruntime's package")
    look = subprocess.run(
        [COMPILER, "-E", "-"], input=b"#include <onnxruntime_c_api.h>\n", capture_output=True, check=False
    )
    if look.returncode:
        pytest.skip("no onnxruntime_c_api.h among the compiler's headers (CPATH=…)")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (tmp_path / name).symlink_to(library)
    program = tmp_path / "sound_student"
    command = [COMPILER, str(EXAMPLES / "sound_student.c"), "-o", str(program), f"-L{tmp_path}", "-lonnxruntime"]
    subprocess.run([*command, f"-Wl,-rpath,{tmp_path}"], check=True, capture_output=True)
    for path, expected in world.expected.items():
        rate = soundfile.info(path).samplerate
        model = world.folder / ("student-sound.onnx" if rate == SPEC.sr else f"student-sound.{rate}.onnx")
        done = subprocess.run([str(program), str(model), str(path)], capture_output=True, text=True, check=True)
        assert_said(done.stdout.strip(), path, expected)
    for arguments, words in (
        ((world.folder / "student-sound.onnx", world.root / "b.wav"), "error: 44100 Hz, expected 22050"),
        (
            (world.folder / "student-sound.onnx", world.folder / "proof.json"),
            "expected a WAV of one channel and 16 bits",
        ),
        ((world.folder / "other.onnx", world.root / "a.wav"), "other.onnx"),
    ):
        done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 1 and words in done.stderr and done.stderr.startswith("error: ")


def test_javascript(world, tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no node or no npm here")
    install = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(
            [*install, f"{runtime.PACKAGE}@{runtime.VERSION}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm gave no answer")
    if done.returncode:
        pytest.skip(f"no {runtime.PACKAGE} from npm: {done.stderr[:200]}")
    program = shutil.copy(EXAMPLES / "sound_student.mjs", tmp_path)
    done = subprocess.run(
        [node, program, str(world.folder), *map(str, world.expected)], capture_output=True, text=True, check=True
    )
    for line, (path, expected) in zip(done.stdout.splitlines(), world.expected.items(), strict=True):
        assert_said(line, path, expected)
    for arguments, words in (
        ((world.folder,), "usage"),
        ((world.folder, world.folder / "proof.json"), "expected a PCM WAV file of 16 bits"),
        ((world.root, world.root / "a.wav"), "labels.json"),
        (
            (exchanged(world.folder, tmp_path), world.root / "a.wav"),
            "student-sound.onnx is not the file that proof.json names",
        ),
    ):
        done = subprocess.run([node, program, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 1 and words in done.stderr and done.stderr.startswith("error: ")
