"""``predict``: the evaluation's logits again, from the checkpoint alone, for any file, length, pipe or microphone."""

import csv
import dataclasses
import io
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from click.testing import CliRunner

from pipeline import features, models, runs
from pipeline.commands.predict import predict
from pipeline.config import FeatureSpec, InputError
from pipeline.deploy import prediction, sounds
from pipeline.processes import second
from tests import shipped
from tests.shipped import (
    CLASSES,
    SPEC,
    world,
)

#: A fixture.
__all__ = ["world"]

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments, code=0):
    """Standard output and standard error of ``predict``, in this process."""
    result = CliRunner().invoke(predict, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


def softmax(logits):
    exponential = np.exp(np.asarray(logits, dtype=float))
    return exponential / exponential.sum(-1, keepdims=True)


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_the_evaluations_logits_from_the_checkpoint_alone(world, tmp_path, role):
    saved = runs.read_predictions(getattr(world, role))
    alone = tmp_path / "elsewhere" / "renamed.pt"
    alone.parent.mkdir()
    shutil.copy(getattr(world, role) / "model.pt", alone)
    answers = objects(command(alone, world.root / "data" / "fold1", "--json")[0])
    assert [Path(one["file"]).name for one in answers] == saved.clips.tolist()
    for one, logits in zip(answers, saved.logits):
        assert len(one["windows"]) == 1
        np.testing.assert_allclose(one["windows"][0]["logits"], [logits], atol=1e-5)
        assert one["top"][0]["class"] == CLASSES[int(np.argmax(logits))]
        assert one["top"][0]["probability"] == pytest.approx(softmax(logits).max(), abs=1e-5)
    assert answers[0]["windows"][0]["end_s"] == pytest.approx(0.25, abs=1e-3)  # a short clip ends where it ends


def test_the_same_on_real_clips(mini, tmp_path):
    """A network with the published input, on clips of each length there is; the oracle is stage one's own way."""
    from pipeline import config
    from pipeline.audio import reading as audio

    spec = config.FeatureSpec()
    network = models.build("cnn2", spec.shape, 10).eval()
    spare = {
        "role": "student",
        "fold": 1,
        "seed": 0,
        "mix": "ce:1",
        "corpus": "mini",
        "dataset": "urbansound8k",
        "synthetic": False,
        "format": 1,
        "model": "cnn2",
        "shape": list(spec.shape),
    }
    state = network.state_dict()
    torch.save(
        {**spare, "classes": list("abcdefghij"), "features": vars(spec), "state": state, "best_state": state},
        tmp_path / "model.pt",
    )
    clips = sorted((mini / "audio" / "fold1").glob("*.wav"), key=lambda path: path.stat().st_size)
    clips = [clips[0], clips[len(clips) // 4], clips[-1]]
    answers = objects(command(tmp_path / "model.pt", *clips, "--json")[0])
    for one, path in zip(answers, clips):
        cached = features.extract(audio.read_clip(path, sr=spec.sr, samples=spec.samples), spec)
        with torch.inference_mode():
            expected = network(torch.from_numpy(cached)[None]).logits[0]
        np.testing.assert_allclose(one["windows"][0]["logits"], expected, rtol=1e-6, atol=1e-5)


def test_any_format_rate_and_number_of_channels(world, tmp_path):
    wave = shipped.sound(1, 7)
    whole = np.round(wave * 32767).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", whole, SPEC.sr)
    soundfile.write(tmp_path / "b.flac", whole, SPEC.sr)

    twice = soxr.resample(wave, SPEC.sr, 44100)
    soundfile.write(tmp_path / "c.wav", np.stack([twice, twice], axis=1), 44100, subtype="FLOAT")
    soundfile.write(tmp_path / "d.ogg", twice, 44100)
    answers = objects(command(world.student, tmp_path, "--json")[0])
    assert [Path(one["file"]).suffix for one in answers] == [".wav", ".flac", ".wav", ".ogg"]
    assert {one["top"][0]["class"] for one in answers} == {"high"}
    assert answers[0]["windows"] == answers[1]["windows"]  # FLAC loses nothing


@pytest.mark.parametrize("samples", [1, 99, 100, 105, 106, 149, 150, 151, 250, 1000, 1001])
def test_windows_cover_the_sound_and_overlap_by_half(samples):
    positions = sounds.starts(samples, 100, 5)
    assert positions[0] == 0
    if samples <= 105:
        assert positions == [0]
        return
    assert positions[-1] == samples - 100
    assert all(0 < b - a <= 50 for a, b in itertools.pairwise(positions))
    assert all(b - a == 50 for a, b in itertools.pairwise(positions[:-1]))
    assert {i for start in positions for i in range(start, start + 100)} == set(range(samples))


def test_a_long_sound_is_heard_window_by_window(world, tmp_path):
    parts = [shipped.sound(0, 1), shipped.sound(2, 2), shipped.sound(1, 3, SPEC.samples // 3)]
    wave = np.concatenate(parts)
    soundfile.write(tmp_path / "long.wav", wave, SPEC.sr, subtype="FLOAT")
    (whole,) = objects(command(world.student, tmp_path / "long.wav", "--json")[0])
    firsts = [0, 5512, 11024, len(wave) - SPEC.samples]
    assert [round(w["start_s"] * SPEC.sr) for w in whole["windows"]] == firsts
    assert whole["windows"][-1]["end_s"] == pytest.approx(len(wave) / SPEC.sr)
    pieces = tmp_path / "pieces"
    pieces.mkdir()
    for place, first in enumerate(firsts):
        piece = wave[first : first + SPEC.samples]
        soundfile.write(pieces / f"{place}.wav", piece, SPEC.sr, subtype="FLOAT")
    alone = objects(command(world.student, pieces, "--json")[0])
    for window, one in zip(whole["windows"], alone):
        np.testing.assert_allclose(window["logits"], one["windows"][0]["logits"], atol=1e-5)
    mean = np.mean([softmax(w["logits"][0]) for w in whole["windows"]], axis=0)
    assert whole["top"][0]["probability"] == pytest.approx(mean.max(), abs=1e-6)
    text = command(world.student, tmp_path / "long.wav", "--top", "1")[0].splitlines()
    assert len(text) == 5 and "mean of 4 windows" in text[0] and "0.00–0.50 s" in text[1]


def test_an_ensemble_averages_probabilities(world):
    clip = world.root / "data" / "fold1" / "100.wav"
    (answers,) = objects(command(world.student, world.teacher, clip, "--json", "--top", "9")[0])
    logits = [runs.read_predictions(folder).logits[0] for folder in (world.student, world.teacher)]
    expected = np.mean([softmax(values) for values in logits], axis=0)
    assert len(answers["top"]) == len(CLASSES)
    for one in answers["top"]:
        assert one["probability"] == pytest.approx(expected[CLASSES.index(one["class"])], abs=1e-6)


def changed(folder, target, **changes):
    payload = torch.load(folder / "model.pt", weights_only=True)
    target.mkdir()
    torch.save({**payload, **changes}, target / "model.pt")
    return target


def test_runs_that_do_not_go_together_are_refused(world, tmp_path):
    clip = world.root / "data" / "fold1" / "100.wav"
    foreign = changed(world.student, tmp_path / "a", classes=["x", "y", "z"], corpus="esc10")
    with pytest.raises(InputError, match=r"other classes \(corpus esc10\).*corpus tiny"):
        command(world.student, foreign, clip)
    slower = changed(world.student, tmp_path / "b", features=vars(shipped.other_spec(sr=16000)))
    with pytest.raises(InputError, match=r"other features.*sr = 16000, not 22050"):
        command(world.student, slower, clip)
    elsewhere = changed(world.student, tmp_path / "d", corpus="esc10")
    with pytest.raises(InputError, match=r"d was trained on corpus esc10, .* on tiny; .* need the same one"):
        command(world.student, elsewhere, clip)
    quieter = changed(world.student, tmp_path / "c", features=vars(shipped.other_spec(noise_std=0.5)))
    command(world.student, quieter, clip)  # the noisy view is not predicted


def test_a_bad_file_costs_only_itself(world, tmp_path):
    good = world.root / "data" / "fold1" / "100.wav"
    (tmp_path / "notes.wav").write_text("bring milk\n")
    (tmp_path / "empty").mkdir()
    out, err = command(world.student, tmp_path / "notes.wav", tmp_path / "empty", good, "--json", code=1)
    assert [one["file"] for one in objects(out)] == [str(good)]
    lines = err.splitlines()
    assert len(lines) == 2 and all(line.startswith("error: ") for line in lines)
    assert "text, not sound" in lines[0] and "without sound files" in lines[1]


def test_a_mistyped_run_or_file_ends_the_command_before_anything_is_predicted(world, tmp_path, monkeypatch):
    """A run that is taken for a sound would be missing from the ensemble, and the answer come from the others."""
    monkeypatch.setattr(prediction, "predict", lambda *_: pytest.fail("something was predicted"))
    good = world.root / "data" / "fold1" / "100.wav"
    (tmp_path / "fold2-seed0").mkdir()
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for path, words in (
        (tmp_path / "fold1-seed9", "no such run"),
        (tmp_path / "fold2-seed0", "it has no model.pt"),
        ("runs/tiny", "no finished run"),
        ("runs/tiny/ban-x", "no such run"),
        (tmp_path / "gone.wav", "gone.wav: missing"),
    ):
        with pytest.raises(InputError, match=words):
            command(world.student, path, good)
    with pytest.raises(InputError, match="is a run, behind sounds; expected the runs first"):
        command(world.student, good, world.teacher)


def test_two_forms_at_once_are_a_usage_error(world):
    clip = world.root / "data" / "fold1" / "101.wav"
    assert "--json and --csv exclude each other" in command(world.student, clip, "--json", "--csv", code=2)[1]


def test_errors_of_standard_input_name_it(world):
    result = CliRunner().invoke(predict, [str(world.student), "-"], input=b"bring milk")
    assert result.exit_code == 1 and result.stderr.startswith("error: -: text, not sound"), result.stderr


def test_csv_and_the_number_of_classes(world):
    clip = world.root / "data" / "fold1" / "101.wav"
    rows = list(csv.DictReader(io.StringIO(command(world.student, clip, "--csv", "--top", "2")[0])))
    assert [(row["file"], row["rank"]) for row in rows] == [(str(clip), "1"), (str(clip), "2")]
    assert rows[0]["class"] == "high" and float(rows[0]["probability"]) >= float(rows[1]["probability"])


def test_standard_input_in_a_real_process(world):
    clip = world.root / "data" / "fold1" / "103.wav"
    content = bytearray(clip.read_bytes())
    expected = runs.read_predictions(world.student).logits[3]
    here = CliRunner().invoke(predict, [str(world.student), "-", "--json"], input=bytes(content))
    np.testing.assert_allclose(json.loads(here.stdout)["windows"][0]["logits"][0], expected, atol=1e-5)
    # From a pipe: a program that writes WAV as it goes leaves both sizes unknown.
    content[4:8] = b"\xff" * 4
    place = content.index(b"data") + 4
    content[place : place + 4] = b"\xff" * 4
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from pipeline.commands.predict import predict; predict()",
            str(world.student),
            "-",
            "--json",
        ],
        input=bytes(content),
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    predicted = json.loads(done.stdout)
    assert predicted["file"] == "-"
    np.testing.assert_allclose(predicted["windows"][0]["logits"][0], expected, atol=1e-5)


class Attack:
    def __reduce__(self):
        return os.system, ("echo run by loading",)


def test_wrong_runs_have_their_line(world, tmp_path, capfd):
    clip = world.root / "data" / "fold1" / "100.wav"
    with pytest.raises(InputError, match=r"gone: no such file or folder; expected a run folder"):
        command(tmp_path / "gone", clip)
    with pytest.raises(InputError, match=r"data: no run: it has no model\.pt"):
        command(world.root / "data", clip)
    text = tmp_path / "model.pt"
    text.write_text("not weights")
    with pytest.raises(InputError, match=r"model\.pt: cannot be read"):
        command(text, clip)
    text.write_bytes(pickle.dumps(Attack()))
    with pytest.raises(InputError, match=r"model\.pt: cannot be read"):
        command(text, clip)
    assert "run by loading" not in capfd.readouterr().out
    torch.save({"weights": torch.zeros(3)}, text)
    with pytest.raises(InputError, match=r"no format, role.*expected a model\.pt of this project"):
        command(text, clip)
    failed = changed(world.student, tmp_path / "failed", state={})
    with pytest.raises(InputError, match=r"this run failed and has no weights"):
        command(failed, clip)
    other = changed(world.student, tmp_path / "other", state={"weights": torch.zeros(3)})
    with pytest.raises(InputError, match=r"not those of its cnn2"):
        command(other, clip)
    newer = changed(world.student, tmp_path / "newer", format=2)
    with pytest.raises(InputError, match=r"format 2; expected .* format 1"):
        command(newer, clip)
    assert "no sounds" in command(world.student, code=2)[1]


def test_made_up_sounds_are_stamped(world, tmp_path):
    synthetic = changed(world.student, tmp_path / "synthetic", synthetic=True)
    clip = world.root / "data" / "fold1" / "100.wav"
    assert command(synthetic, clip)[1].startswith("SYNTHETIC")
    assert command(world.student, clip)[1] == ""


def test_the_microphone_needs_its_extra(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(InputError, match=r"pip install 'audio-rkd\[mic\]'"):
        command(world.student, "--microphone")


class PortAudioError(Exception):
    pass


def test_the_microphone_is_heard_in_overlapping_windows(world, monkeypatch):
    """A stand-in that hands out a sound in blocks, as PortAudio does, and is then interrupted."""
    wave = np.concatenate([shipped.sound(0, 5), shipped.sound(1, 6)])

    class InputStream:
        def __init__(self, *, samplerate, channels, dtype, callback):
            assert (samplerate, channels, dtype) == (SPEC.sr, 1, "float32")
            self.callback = callback

        def __enter__(self):
            block = np.zeros((1000, 1), dtype=np.float32)
            for start in range(0, len(wave), 1000):
                part = block[: len(wave[start : start + 1000])]
                part[:, 0] = wave[start : start + 1000]  # PortAudio uses its buffer again: the block must be copied
                self.callback(part, len(part), None, None)

        def __exit__(self, *_):
            pass

    fake = types.SimpleNamespace(InputStream=InputStream, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    source = sounds.microphone(SPEC)
    half = SPEC.samples // 2
    for start in (0, half, 2 * half):
        np.testing.assert_array_equal(next(source), wave[start : start + SPEC.samples])

    def broken(**_):
        raise PortAudioError("no default input device")

    monkeypatch.setattr(fake, "InputStream", broken)
    with pytest.raises(InputError, match=r"cannot be opened \(no default input device\)"):
        command(world.student, "--microphone")


def test_windows_come_in_turn_whichever_process_was_first(world, monkeypatch):
    """Also the last ones, which do not fill a round."""
    members = prediction.ensemble([world.student])
    spec = members[0].spec
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 15 * spec.samples // 2).astype(np.float32)
    slow = prediction.logits

    def uneven(members, clips):
        time.sleep(0.02 * float(abs(clips[0, 0])))
        return slow(members, clips)

    monkeypatch.setattr(prediction, "logits", uneven)
    monkeypatch.setattr(prediction, "ALONE", 1)
    monkeypatch.setattr(second, "possible", lambda: sys.platform == "linux")
    answers = []
    for two in (False, True):
        told = []
        answers.append(prediction.predict(members, np.array_split(sound, 7), told.append, two))
        assert sum(told) == len(answers[-1].times)
    one, several = answers
    assert one.logits.shape[1] > 12 and one.times == several.times
    np.testing.assert_array_equal(one.logits, several.logits)
    whole = [slow(members, sound[round(a * spec.sr) :][None, : spec.samples]) for a, _ in one.times]
    np.testing.assert_array_equal(one.logits, np.concatenate(whole, axis=1))


def test_torch_has_its_threads_again_behind_predictions_that_overlap(world):
    """The first one ends, by an error, while the second one still hears. So have threads that begin later."""
    members = prediction.ensemble([world.student])
    sound, before, seen = np.zeros(members[0].spec.samples, np.float32), torch.get_num_threads(), []
    begun, joined, ended = threading.Event(), threading.Event(), threading.Event()

    def first():
        begun.set()
        yield sound
        assert joined.wait(60)
        raise OSError("in the middle")

    def second():
        joined.set()
        yield sound
        assert ended.wait(60)
        seen.append(torch.get_num_threads())

    try:
        torch.set_num_threads(5)
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(prediction.predict, members, first())
            assert begun.wait(60)
            other = pool.submit(prediction.predict, members, second())
            with pytest.raises(OSError, match="in the middle"):
                one.result()
            ended.set()
            other.result()
        with ThreadPoolExecutor(1) as pool:
            later = pool.submit(torch.get_num_threads).result()
        assert (seen, torch.get_num_threads(), later) == ([1], 5, 5)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("name", "spec"), [("cnn2", FeatureSpec()), ("cnn2", SPEC), ("resnet18", SPEC)])
def test_what_is_heard_together_is_heard_as_if_alone(world, name, spec):
    """To the last bit, whether or not the network may hear several clips at once."""
    (member,) = prediction.ensemble([world.student])
    network = models.network(name, spec.shape, len(CLASSES)).eval()
    members = [dataclasses.replace(member, network=network, spec=spec)]
    clips = np.random.default_rng(0).uniform(-0.5, 0.5, (prediction.GROUP, spec.samples)).astype(np.float32)
    clips *= np.float32(10.0) ** -np.arange(len(clips), dtype=np.float32)[:, None]
    together = prediction.logits(members, clips)
    with torch.inference_mode():
        single = [network(torch.from_numpy(features.extract(clip[None], spec))).logits.numpy() for clip in clips]
    np.testing.assert_array_equal(together[0], np.concatenate(single))
    # Whatever lies beside a clip, and however many, its numbers are the same.
    others = np.zeros_like(clips)
    others[1] = clips[1]
    np.testing.assert_array_equal(prediction.logits(members, others)[:, 1], together[:, 1])
    np.testing.assert_array_equal(prediction.logits(members, clips[:-1]), together[:, :-1])


def test_a_network_whose_bits_depend_on_the_batch_hears_one_by_one():
    """Found out by trying: it adds up over the batch, as no network should."""
    network = models.network("cnn2", SPEC.shape, 3).eval()
    assert prediction.hears_together(network) in (True, False)

    def mixed(_module, _inputs, outputs):
        return type(outputs)({**outputs, "logits": outputs.logits + outputs.logits.sum()})

    network.register_forward_hook(mixed)
    prediction.hears_together.cache_clear()
    assert not prediction.hears_together(network)


def test_of_many_runs_each_is_tried_once():
    prediction.hears_together.cache_clear()
    networks = [models.network("cnn2", SPEC.shape, 3).eval() for _ in range(20)]
    for _ in range(2):  # groups of windows
        for network in networks:
            prediction.hears_together(network)
    assert prediction.hears_together.cache_info().misses == len(networks)
    prediction.hears_together.cache_clear()


def test_a_sound_has_the_same_answer_whatever_else_is_asked(world, tmp_path):
    """Also where the last windows fill no group."""
    for number, count in enumerate((9, 5, 2)):
        wave = np.concatenate([shipped.sound(k % 3, 10 * number + k) for k in range(count // 2 + 1)])
        soundfile.write(tmp_path / f"{number}.wav", wave, SPEC.sr, subtype="FLOAT")
    together = objects(command(world.student, tmp_path, "--json")[0])
    assert max(len(one["windows"]) for one in together) > prediction.GROUP
    for one in together:
        assert objects(command(world.student, one["file"], "--json")[0]) == [one]
