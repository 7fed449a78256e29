"""The page of a student of all folds on mel bands alone, in a real browser: its answers at every rate, its threshold, its picture."""

from __future__ import annotations

import base64
import json
import shlex
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline import config, features, runs
from pipeline.commands.final import final as final_command
from pipeline.config import InputError
from pipeline.deploy import choosing, prediction
from pipeline.deploy.final import shipping
from pipeline.deploy.one_file import proof
from pipeline.deploy.web import making, runtime
from pipeline.report import votes
from pipeline.report.explaining import clips
from pipeline.runs import refusal as refusals
from tests import shipped
from tests.browsing import BROWSER, probed
from tests.pages import write_run
from tests.tiny import invoke

RATES = (22050, 44100, 48000)
#: As the page has them.
COLOURS = np.array([[3, 5, 25], [75, 20, 100], [165, 45, 95], [235, 105, 45], [252, 250, 190]])
BRIEF = ("teacher.model=tiny", "teacher.epochs=12", "student.epochs=12", "teacher.batch=4", "student.batch=4")
CORPUS = (
    "--dataset",
    "folder",
    "--data",
    "sounds",
    "--preset",
    "tiny",
    *(w for each in BRIEF for w in ("--set", each)),
)
MIX = ("--losses", "ce:0.3,hinton:0.7@T=2")


def test_forms_that_cannot_be_are_refused_before_anything_is_trained() -> None:
    spec = config.read("default").features
    assert len(shipping.forms_of(spec, (), False)) == 2  # refused later, in the proof: all else is shipped
    for rates, half, asked in (((44100,), False, "--rate 44100"), ((), True, "--half")):
        with pytest.raises(InputError, match=rf"^{asked}: features.tuning = 'estimate'.*make distill PRESET=device$"):
            shipping.forms_of(spec, rates, half)
    small = config.read("small").features
    files = {form.file(small) for form in shipping.forms_of(small, (44100,), False)}
    assert files == {f"student-sound{rate}{kind}.onnx" for rate in ("", ".44100") for kind in ("", ".int8")}
    with pytest.raises(InputError, match="22051"):
        shipping.forms_of(small, (22051,), False)


def test_what_is_not_exported_names_the_command_and_the_rates_of_a_microphone(tmp_path: Path) -> None:
    """Of a student of all folds ``final``, with its preset, mix and seed: ``export`` refuses such a run."""
    final = runs.read(write_run(tmp_path / "finals", "ce:0.3,hinton:0.7@T=2", 0, 1, result={"status": "all folds"}))
    held_out = runs.read(write_run(tmp_path / "runs", "soft", 0, 0))  # of a corpus that has a fold 0
    for record, command in (
        (final, rf"audio-rkd final --preset {final.preset} --losses ce:0.3,hinton:0.7@T=2 --seeds 1"),
        (held_out, rf"audio-rkd export {held_out.folder}"),
    ):
        with pytest.raises(InputError, match=rf"export it first: {command} --rate 44100 --rate 48000"):
            making.exported(tmp_path / "exports", record)
        assert choosing.how_to_export(record) == command
        place = tmp_path / "exports" / record.corpus
        place /= choosing.final_name(record) if record is final else choosing.folder_name(record)
        place.mkdir(parents=True)
        (place / "model.onnx").touch()
        with pytest.raises(InputError, match=rf"make the export again: {command}$"):
            choosing.existing(tmp_path / "exports", record)
        with pytest.raises(InputError, match=rf"export the run again: {command}$"):
            making.page_models(place, command)
    words = shlex.split(choosing.how_to_export(final))[2:]  # the command itself takes them
    params = final_command.make_context("final", [*words, "--rate", "44100"]).params
    assert (params["losses"], params["seed"], params["rates"]) == ((final.mix_text,), 1, (44100,))


def test_what_measures_on_held_out_clips_refuses_a_student_of_all_folds(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "finals", "soft", 0, 0, result={"status": "all folds"})
    for measured in (
        lambda: votes.records([folder]),  # of ensemble and noise
        lambda: clips.chosen(runs.read(folder), tmp_path / "cache", 3),  # of explain
    ):
        with pytest.raises(InputError, match="was trained on all folds, and no clip is held out"):
            measured()
    assert votes.records([write_run(tmp_path / "runs", "soft", 0, 0)])  # of a corpus that has a fold 0


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A student of all folds and its page, whose threshold refuses half of the examples."""
    root = tmp_path_factory.mktemp("final")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        try:
            runtime.runtime(Path("exports") / f".{runtime.PACKAGE}-{runtime.VERSION}", lambda line: None)
        except InputError as error:
            pytest.skip(f"no onnxruntime-web: {error}")
        shipped.write_folder(Path("sounds"))
        assert invoke("features", *CORPUS, "--backend", "sequential").exit_code == 0
        assert invoke("teacher", *CORPUS, "--jobs", "1").exit_code == 0
        assert invoke("distill", *CORPUS, *MIX, "--jobs", "1").exit_code == 0
        rates = [word for rate in RATES[1:] for word in ("--rate", str(rate))]
        done = invoke("final", *CORPUS, *MIX, "--jobs", "1", "--no-unheard", *rates, "--json")
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        run = Path(told["run"])
        kept = refusals.read(run)
        assert kept is not None
        assert invoke("report").exit_code == 0
        (report,) = Path("reports").glob("*/index.html")
        about = making.write(run, Path("cache"), Path("exports"), data=Path("sounds"), say=lambda line: None)
        html = (about / making.INDEX).read_text()
        surest = np.median([max(one["probabilities"]) for one in about_of(html)["examples"]])
        refusals.write(run, refusals.Refusal(**{**vars(kept), "threshold": float(surest)}))
        folder = making.write(run, Path("cache"), Path("exports"), data=Path("sounds"), say=lambda line: None)
        yield types.SimpleNamespace(
            told=told, run=root / run, kept=kept, report=report.read_text(), folder=root / folder, threshold=surest
        )


def about_of(html: str) -> dict:
    return json.loads(html.partition('id="about">')[2].partition("</script>")[0])


@pytest.mark.slow
def test_a_student_of_all_folds_is_one_file_at_every_rate_and_its_threshold_is_reported(world) -> None:
    files = world.told["proof"]["one_file"]["files"]
    assert set(files) == {
        f"student-sound{rate}{kind}.onnx" for rate in ("", ".44100", ".48000") for kind in ("", ".int8")
    }
    for name, one in files.items():
        if "int8" not in name:
            assert set(one["equal_classes"].values()) == {1.0}, name
            assert max(one["worst_logit_difference"].values()) < 1e-3, name
    assert f"is below {world.kept.threshold:.4f} is none of these" in world.report
    assert "held-out clips of known classes. Set by the other folds it refuses" in world.report
    assert "made-up sounds" in world.report.partition('id="shipped"')[2]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_its_page_says_what_predict_says_on_a_phone_in_the_dark(world, tmp_path: Path) -> None:
    member = prediction.checkpoint(world.run)
    spec = member.spec
    assert spec.names == ("melspectrogram",) and member.threshold == world.threshold
    sounds = {}
    for place, rate in enumerate(RATES * 2):
        wide = np.random.default_rng(place).normal(0, 0.02, rate)
        path = tmp_path / f"{rate}-{'whole' if place < 3 else 'short'}.wav"
        n = rate // (2 if place < 3 else 5)
        soundfile.write(path, shipped.sound(place % 3, 7, n) + wide[:n], rate, subtype="PCM_16")
        sounds[path] = base64.b64encode(path.read_bytes()).decode()
    given = {path.name: words for path, words in sounds.items()}
    script = f"""
    const examples = await started, answers = {{}};
    const firsts = [...document.querySelectorAll("#examples .page")].map((cell) => cell.firstChild.textContent);
    const pythons = [...document.querySelectorAll("#examples .python")].map((cell) => cell.firstChild.textContent);
    for (const [name, words] of Object.entries({json.dumps(given)})) {{
      const {{ logits }} = await hearFile(new File([fromBase64(words)], name));
      answers[name] = {{ logits: logits[0], none: Boolean(document.querySelector("#bars .none")) }};
    }}
    const canvas = element("picture");
    const pixels = [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
    const refused = await hearFile(new File([new Uint8Array(60)], "a.wav")).catch((error) => error.message);
    const wide = [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1);
    const words = ["examples-about", "agreement", "feature"].map((id) => element(id).textContent);
    const page = {{ words, inner: innerWidth, body: getComputedStyle(document.body).backgroundColor, wide: wide.map((e) => e.tagName) }};
    return {{ examples, firsts, pythons, answers, pixels, size: [canvas.height, canvas.width], refused, page }};
    """
    frame = world.folder / "phone.html"
    frame.write_text(
        '<!DOCTYPE html><title></title><body><iframe src="index.html" width="390" height="844" style="border:0"></iframe></body>'
    )
    inner = f"return await frames[0].eval({json.dumps(f'(async () => {{ {script} }})()')});"
    waiting = "while (!frames[0].document?.getElementById('about')) await new Promise((r) => setTimeout(r, 50));"
    try:
        dark = ("--blink-settings=preferredColorScheme=0",)
        values = probed(frame, waiting + inner, tmp_path, served=True, flags=dark)
    finally:
        frame.unlink()
    result = values["result"]
    assert "error" not in result and not values["console"], (result, values["console"])
    assert all(one["same"] and one["difference"] < 1e-4 for one in result["examples"])
    assert result["firsts"] == result["pythons"] and 0 < result["firsts"].count("none of these") < len(result["firsts"])
    assert (
        "was trained on, as on all" in result["page"]["words"][0] and 'is "none of these"' in result["page"]["words"][0]
    )
    for path in sounds:
        rate, answer = int(path.name.split("-")[0]), result["answers"][path.name]
        clip, _ = proof.as_clip(proof.beginning(path, rate, spec), rate, spec)
        expected = prediction.logits([member], clip[None])[0, 0]
        limit = 1e-4 if rate < 48000 else 1e-3
        assert np.abs(np.array(answer["logits"]) - expected).max() < limit * max(1, np.abs(expected).max() / 10), path
        assert answer["none"] == (np.exp(expected - expected.max()).sum() ** -1 < world.threshold), path
    # The picture is the last sound's 64 mel bands, the student's own, lowest below: 80 dB from black to pale.
    levels = features.extract(clip[None], spec)[0, 0, ::-1]
    shade = 4 * (1 - np.minimum(1, (levels.max() - levels) / 80))
    channels = [np.interp(shade, range(5), COLOURS[:, c]) for c in range(3)]
    shown = np.array(result["pixels"]).reshape(*result["size"], 4)
    assert shown.shape[:2] == (64, spec.frames) and (shown[..., 3] == 255).all()
    np.testing.assert_allclose(shown[..., :3], np.stack(channels, axis=-1), atol=1)
    assert result["page"]["words"][2] == "mel-spectrogram, low bands below"
    assert (
        result["page"]["inner"] == 390 and result["page"]["wide"] == [] and result["page"]["body"] == "rgb(20, 23, 26)"
    )
    assert runs.read(world.run).fold == 0 and "not a sound" in result["refused"]
