"""The page of an export: its parts, the fetched runtime, and what it says in a real browser beside what Python says."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from pipeline.commands import web as command
from pipeline.config import InputError
from pipeline.deploy import export, prediction
from pipeline.deploy.one_file import proof
from pipeline.deploy.web import making, runtime
from pipeline.report import check
from pipeline.runs import seal
from tests import shipped
from tests.browsing import BROWSER, probed

SPEC = dataclasses.replace(shipped.SPEC, tuning=0.0, floor=1e-5)
NODE = shutil.which("node")
RATES = (22050, 44100, 48000)


def package(**files: bytes) -> bytes:
    """An npm package with these files in ``dist``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(f"package/dist/{name}")
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A package of two small files, which the hashes are of."""
    files = {runtime.SCRIPT: b"export const env = {};", runtime.WASM: b"\0asm"}
    content = package(**files)
    monkeypatch.setattr(runtime, "INTEGRITY", base64.b64encode(hashlib.sha512(content).digest()).decode())
    monkeypatch.setattr(runtime, "FILES", {name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
    return content


def npm(place: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """An npm that does ``script``, and nothing else to be run."""
    place.mkdir()
    file = place / "npm"
    file.write_text(f'#!/bin/sh\necho "$*" >> "{place}/log"\n{script}\n')
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")


def test_the_runtime_is_fetched_once(small: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there.tgz").write_bytes(small)
    npm(tmp_path / "bin", monkeypatch, f'cp "{tmp_path}/there.tgz" onnxruntime-web-{runtime.VERSION}.tgz')
    lines: list[str] = []
    for _ in range(2):
        files = runtime.runtime(tmp_path / "kept", lines.append)
        assert files == {runtime.SCRIPT: b"export const env = {};", runtime.WASM: b"\0asm"}
    assert len(lines) == 1 and len((tmp_path / "bin" / "log").read_text().splitlines()) == 1
    assert f"onnxruntime-web@{runtime.VERSION}" in (tmp_path / "bin" / "log").read_text()
    # A file that was damaged is fetched again.
    (tmp_path / "kept" / runtime.WASM).write_bytes(b"\0asn")
    assert runtime.runtime(tmp_path / "kept", lines.append)[runtime.WASM] == b"\0asm" and len(lines) == 2


def test_a_package_laid_there_by_hand_is_taken(small: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"there is no npm: install Node.js, or fetch it elsewhere") as error:
        runtime.runtime(tmp_path, print)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
    (tmp_path / f"onnxruntime-web-{runtime.VERSION}.tgz").write_bytes(small)
    assert runtime.runtime(tmp_path, print)[runtime.WASM] == b"\0asm"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'npm error code ENOTFOUND' >&2; exit 1", r"could not fetch onnxruntime-web .*ENOTFOUND.*with a network"),
        ("exit 3", r"could not fetch onnxruntime-web .*exit code 3"),
        ("echo other > onnxruntime-web.tgz", r"its SHA-512 is .* it is damaged or another package; look at where npm"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(
    small: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    npm(tmp_path / "bin", monkeypatch, script)
    with pytest.raises(InputError, match=words) as error:
        runtime.runtime(tmp_path / "kept", lambda line: None)
    assert "\n" not in str(error.value) and not (tmp_path / "kept").exists()


def test_the_page_holds_what_it_needs_and_any_class_name() -> None:
    about = {"classes": ["</script><b>", "{{files}}"], "examples": []}
    inside = {"a.onnx": bytes(range(256))}
    html = making.page(about, inside, "licence & more")
    (raw,) = re.findall(r'<script type="application/json" id="about">(.*?)</script>', html, re.DOTALL)
    assert json.loads(raw) == about and "{{" not in html.replace(json.dumps("{{files}}"), "")
    (packed,) = re.findall(r'id="file:a.onnx">(.*?)</script>', html)
    assert base64.b64decode(packed) == bytes(range(256)) and "licence &amp; more" in html
    assert not re.findall(r"""(?:src|href)=["']?http""", html)


@pytest.mark.skipif(NODE is None, reason="no node here")
def test_the_page_compares_what_it_loads_with_what_was_written() -> None:
    content = {"a.onnx": b"abc", "b.onnx": b"abd", "other": b""}
    about = {"sha256": {name: hashlib.sha256(content["a.onnx"]).hexdigest() for name in ("a.onnx", "b.onnx")}}
    elements = {f"file:{name}": base64.b64encode(data).decode() for name, data in content.items()}
    loading, _, _ = (Path(making.__file__).parent / "page.js").read_text().partition("let ort;")
    script = f"""
    const elements = {json.dumps({"about": json.dumps(about), **elements})};
    globalThis.document = {{ getElementById: (id) => id in elements ? {{ textContent: elements[id] }} : null }};
    {loading}
    (async () => {{
      for (const name of ["a.onnx", "b.onnx", "other"]) {{
        try {{ console.log((await bytesOf(name)).length); }} catch (error) {{ console.log(error.message); }}
      }}
    }})();
    """
    done = subprocess.run([str(NODE), "-e", script], capture_output=True, text=True, check=True)
    first, *refused = done.stdout.splitlines()
    assert first == "3" and len(refused) == 2
    assert all(
        "is not what was written (SHA-256 differs): write the page again, audio-rkd web" in line for line in refused
    )


@pytest.mark.skipif(NODE is None, reason="no node here")
def test_several_classes_are_the_same_in_whichever_order() -> None:
    """Of two classes as sure as each other the last digits of float32 decide which stands first."""
    page = (Path(making.__file__).parent / "page.js").read_text()
    parts = [
        re.search(rf"^(?:const|function) {name}\b.*?^(?=\n|/\*\*|const|function)", page, re.DOTALL | re.MULTILINE)
        for name in ("ranked", "isNone", "countPresent", "percent", "isSame", "firstOf")
    ]
    functions = "\n".join(part[0] for part in parts if part)
    said = {}
    for several, threshold in ((True, 0.5), (False, None), (False, 0.8)):
        about = {"classes": ["a", "b", "c"], "several": several, "threshold": threshold, "none": "none"}
        answers = [[0.9, 0.90001, 0.2], [0.90001, 0.9, 0.2], [0.9, 0.4, 0.3], [0.4, 0.3, 0.2], [0.3, 0.4, 0.2]]
        script = f"""
        const about = {json.dumps(about)}, answers = {json.dumps(answers)};
        {functions}
        console.log(JSON.stringify([[0, 1], [0, 2], [3, 4], [0, 0]].map(([i, j]) => isSame(answers[i], answers[j]))));
        """
        done = subprocess.run([str(NODE), "-e", script], capture_output=True, text=True, check=True)
        said[several, threshold] = json.loads(done.stdout)
    assert said[True, 0.5] == [True, False, True, True]
    assert said[False, None] == [False, False, False, True] and said[False, 0.8] == [False, False, True, True]


def test_examples_are_of_all_classes_in_turn() -> None:
    assert making.in_turn([2, 2, 0, 1, 0, 2], 4) == [2, 3, 0, 4]
    assert making.in_turn([1, 1], 9) == [0, 1] and making.in_turn([1, 1], 0) == []


@pytest.mark.skipif(NODE is None, reason="no node here")
def test_the_pages_wav_reader_reads_what_soundfile_reads(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (999, 2))
    kinds = {"PCM_U8": "WAV", "PCM_16": "WAV", "PCM_24": "WAVEX", "PCM_32": "WAV", "FLOAT": "WAVEX", "DOUBLE": "WAV"}
    for kind, form in kinds.items():
        soundfile.write(tmp_path / f"{kind}.wav", sound, 44100, subtype=kind, format=form)
        soundfile.write(tmp_path / f"{kind} mono.wav", sound[:, 0], 8000, subtype=kind, format=form)
    rates = {"a.flac": 44100, "v.ogg": 32000, "m.mp3": 22050, "n.mp3": 48000, "law.wav": 11025}
    for name, rate in rates.items():
        more = {"subtype": "ULAW"} if name == "law.wav" else {}
        soundfile.write(tmp_path / name, sound, rate, **more)
    (tmp_path / "text.wav").write_text("hello")
    script = (
        (Path(making.__file__).parent / "sound.js").read_text()
        + """
    const fs = require("fs");
    const answers = {};
    for (const name of fs.readdirSync(".")) {
      const bytes = fs.readFileSync(name);
      const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
      const wav = readWav(buffer);
      answers[name] = { rate: statedRate(buffer), wav: wav && { rate: wav.rate, samples: [...wav.samples] } };
    }
    console.log(JSON.stringify({ answers, starts: [[5, 8, 2], [10, 8, 2], [11, 8, 2], [24, 8, 0]].map((a) => windowStarts(...a)) }));
    """
    )
    done = subprocess.run([str(NODE), "-e", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    values = json.loads(done.stdout)
    for name, answer in values["answers"].items():
        if name in rates or name == "text.wav":
            assert answer == {"rate": rates.get(name, 0), "wav": None}
            continue
        expected, rate = soundfile.read(tmp_path / name, dtype="float32", always_2d=True)
        assert answer["rate"] == answer["wav"]["rate"] == rate
        np.testing.assert_allclose(answer["wav"]["samples"], expected.mean(axis=1), atol=1e-7)
    assert values["starts"] == [[0], [0], [0, 3], [0, 4, 8, 12, 16]]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A run exported for three rates, and its page with the real runtime."""
    root = tmp_path_factory.mktemp("web")
    kept = root / "exports" / f".{runtime.PACKAGE}-{runtime.VERSION}"
    try:
        runtime.runtime(kept, lambda line: None)
    except InputError as error:
        pytest.skip(f"no onnxruntime-web: {error}")
    paths = shipped.write_corpus(root, SPEC)
    run = shipped.write_run(root, paths)
    data = root / "data" / "fold1"
    export.export(run, root / "cache", root / "exports", rates=RATES, data=data)
    folder = making.write(run, root / "cache", root / "exports", data=data)
    return types.SimpleNamespace(root=root, run=run, data=data, folder=folder)


@pytest.mark.slow
def test_what_is_written(world) -> None:
    names = {path.relative_to(world.folder).as_posix() for path in world.folder.rglob("*") if path.is_file()}
    models = {f"student-sound.{rate}.onnx" for rate in RATES}
    examples = {f"examples/{place:02d}.wav" for place in range(1, 1 + shipped.CLIPS)}
    others = {"index.html", "student-sound.html", "proof.json", making.LICENCE, runtime.SCRIPT, runtime.WASM}
    assert names == models | examples | others
    html = (world.folder / "index.html").read_text()
    about = json.loads(re.findall(r'id="about">(.*?)</script>', html, re.DOTALL)[0])
    member = prediction.checkpoint(world.run)
    for example in about["examples"]:
        answer = prediction.predict_file([member], world.folder / example["file"])
        np.testing.assert_allclose(example["logits"], answer.logits[0, 0], atol=1e-5)
    assert "Permission is hereby granted" in html and len(html) < 50_000
    listed = json.loads((world.folder / "proof.json").read_text())["sha256"]
    assert listed.keys() == names - {"proof.json"} and not check.check([world.folder]).findings
    for name in ("proof.json", "index.html", "examples/01.wav"):
        content = (world.folder / name).read_bytes()
        (world.folder / name).write_bytes(content[:-2] + b"  ")
        (finding,) = check.check([world.folder]).findings
        assert finding.path == str(world.folder / name) and "audio-rkd web" in finding.remedy
        (world.folder / name).write_bytes(content)
    with pytest.raises(InputError, match=r"not in .*other/; export it first: audio-rkd export .* --rate 44100"):
        making.write(world.run, world.root / "cache", world.root / "other", data=world.data)


@pytest.mark.slow
def test_the_command_and_who_is_refused(world, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.root)
    run = str(world.run.relative_to(world.root))
    done = CliRunner().invoke(command.web, [run, "--data", str(world.data), "--examples", "2"], catch_exceptions=False)
    assert done.exit_code == 0 and "opens from disk" in done.stdout
    assert len(list((world.folder / "examples").iterdir())) == 2
    making.write(world.run, world.root / "cache", world.root / "exports", data=world.data)
    entry = world.folder.parent / "proof.json"
    before = entry.read_text()
    entries = json.loads(before)
    entries["one_file"]["refused"] = "features.floor = 0"
    entry.write_text(json.dumps({**entries, seal.CONTENT: seal.content_of(entries)}))
    try:
        with pytest.raises(InputError, match=r"no student-sound.onnx for a page: features.floor = 0"):
            making.write(world.run, world.root / "cache", world.root / "exports", data=world.data)
    finally:
        entry.write_text(before)


#: (name, kind of file, rate) of the sounds that are given to the page beside its examples.
GIVEN = [
    *((f"pcm{rate}.wav", rate, "PCM_16") for rate in RATES),
    *(("deep.wav", 44100, "PCM_24"), ("float.wav", 48000, "FLOAT")),
    *(("lossless.flac", 44100, "PCM_16"), ("lossless22.flac", 22050, "PCM_16"), ("vorbis.ogg", 22050, "VORBIS")),
]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("served", [True, False], ids=["from a server", "from disk"])
def test_the_page_says_in_a_browser_what_python_says(world, mini: Path, tmp_path: Path, served: bool) -> None:
    """Its examples, and twenty real clips and other files that are given to it as by hand; nothing else is loaded."""
    member = prediction.checkpoint(world.run)
    paths = sorted(mini.rglob("*.wav"))
    sounds = {f"real{i}.wav": path.read_bytes() for i, path in enumerate(paths[:: len(paths) // 20][:20])}
    wide = np.random.default_rng(1).normal(0, 0.1, 48000)
    for name, rate, kind in GIVEN:
        soundfile.write(tmp_path / name, shipped.sound(1, 3, rate // 3) + wide[: rate // 3], rate, subtype=kind)
        sounds[name] = (tmp_path / name).read_bytes()
    given = {name: base64.b64encode(content).decode() for name, content in sounds.items()}
    script = f"""
    const examples = await started, answers = {{}};
    for (const [name, words] of Object.entries({json.dumps(given)})) {{
      try {{ answers[name] = (await hearFile(new File([fromBase64(words)], name))).logits[0]; }}
      catch (error) {{ answers[name] = error.message; }}
    }}
    const refused = await hearFile(new File(["hello"], "text.wav")).catch((error) => error.message);
    return {{ examples, answers, refused, bars: document.querySelectorAll("#bars li").length }};
    """
    page = world.folder / ("index.html" if served else "student-sound.html")
    values = probed(page, script, tmp_path, served=served)
    result = values["result"]
    assert "error" not in result, result
    assert len(result["examples"]) == shipped.CLIPS and result["bars"] == 3
    assert all(one["same"] and one["difference"] < 1e-4 for one in result["examples"])
    assert result["refused"] == "text.wav: not a sound that is read here; expected WAV, FLAC, Ogg or MP3"
    heard = 0
    for name, logits in result["answers"].items():
        (tmp_path / name).write_bytes(sounds[name])
        rate = soundfile.info(tmp_path / name).samplerate
        if rate not in RATES:
            assert f"a sound of {rate} Hz, and this page is for 22050 Hz, 44100 Hz, 48000 Hz" in logits, name
            continue
        sound = proof.beginning(tmp_path / name, rate, SPEC)
        clip, _ = proof.as_clip(sound, rate, SPEC)
        expected = prediction.logits([member], clip[None])[0, 0]
        heard += name.startswith("real")
        assert np.argmax(logits) == expected.argmax(), name
        # WAV by the page itself; a browser's decoder of a lossy format is another one than libsndfile's.
        limit = {"wav": 1e-4 if rate < 48000 else 1e-3, "flac": 5e-3, "ogg": 0.5}[name.split(".")[1]]
        assert np.abs(np.array(logits) - expected).max() < limit * max(1, np.abs(expected).max() / 10), name
    assert heard >= 15
    assert not values["console"], values["console"]
    files_of_page = {path.relative_to(world.folder).as_posix() for path in world.folder.rglob("*")}
    assert set(values["asked"]) <= files_of_page if served else not values["asked"]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_the_microphone_and_a_phone_in_the_dark(world, tmp_path: Path) -> None:
    """Chromium's made-up microphone is heard (on a busy machine with gaps, so of pieces of a known sound the answers are looked
    at); nothing is wider than 390 px."""
    soundfile.write(tmp_path / "tone.wav", np.tile(shipped.sound(0, 3), 8), 22050, subtype="PCM_16")
    script = """
    await started;
    document.getElementById("microphone").click();
    const bars = document.getElementById("bars"), heard = [];
    for (let i = 0; i < 400 && heard.length < 4; i++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (microphone && bars.dataset.old !== (bars.dataset.old = bars.textContent)) heard.push(bars.firstChild?.textContent);
    }
    const words = document.getElementById("state").textContent;
    await stopMicrophone();
    const off = document.getElementById("state").textContent;
    const file = about.examples.find((example) => example.label === "high").file;
    const { samples, rate } = readWav((await bytesOf(file)).buffer);
    const port = {}, size = Math.round(about.seconds * rate);
    microphone = { stream: { getTracks: () => [] }, context: { close() {} } };
    listen(port, rate);
    const long = new Float32Array(3 * size).map((_, i) => (i < 2 * size ? Math.sin(i / 50) : samples[(i - 2 * size) % samples.length]));
    let last;
    for (let at = 0; at < long.length; at += 128) last = port.onmessage({ data: long.slice(at, at + 128) });
    await last;
    for (let i = 0; i < 100; i++) await inTurn(() => {});
    bars.replaceChildren();
    for (let at = 0; at < size; at += 128) last = port.onmessage({ data: long.slice(2 * size + at, 2 * size + at + 128) });
    while (!bars.firstChild) await new Promise((resolve) => setTimeout(resolve, 20));
    const known = bars.firstChild.textContent;
    await stopMicrophone();
    const wide = [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1);
    return { heard, words, off, known, wide: wide.map((e) => e.tagName), inner: innerWidth, body: getComputedStyle(document.body).backgroundColor };
    """
    frame = world.folder / "phone.html"
    frame.write_text(
        '<!DOCTYPE html><title></title><body><iframe src="index.html" width="390" height="844" allow="microphone" '
        'style="border:0"></iframe></body>'
    )
    flags = (
        *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
        *(f"--use-file-for-fake-audio-capture={tmp_path / 'tone.wav'}", "--blink-settings=preferredColorScheme=0"),
    )
    inner = f"return await frames[0].eval({json.dumps(f'(async () => {{ {script} }})()')});"
    waiting = "while (!frames[0].document?.getElementById('about')) await new Promise((r) => setTimeout(r, 50));"
    try:
        values = probed(frame, waiting + inner, tmp_path, served=True, flags=flags)
    finally:
        frame.unlink()
    result = values["result"]
    assert "error" not in result, result
    assert re.fullmatch(r"Listening at (44100|48000) Hz: the last 0.5 s count\.", result["words"]), result
    assert len(result["heard"]) > 1 and result["off"] == "The microphone is off.", result
    assert result["known"].startswith("high"), result
    assert result["inner"] == 390 and result["wide"] == [] and result["body"] == "rgb(20, 23, 26)"
