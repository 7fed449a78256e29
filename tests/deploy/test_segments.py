"""``predict --segments``: overlapping windows merged into events, as text, CSV, JSON and label tracks."""

import csv
import io
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from pipeline.commands.predict import predict
from pipeline.deploy import prediction, sounds
from pipeline.deploy.prediction import Prediction
from pipeline.deploy.segments import Event, as_labels, events, track_name
from pipeline.files import write_atomic
from tests.shipped import CLASSES, SPEC, world

#: A fixture.
__all__ = ["world"]


def said(times, probabilities):
    """A prediction of one run with these probabilities."""
    return Prediction(times[-1][1], tuple(times), np.log(np.array(probabilities, np.float32))[None])


def at_each_moment(answer, classes, threshold, step=0.125):
    """The oracle: of every moment the mean over the windows that lie over it, its class where that is sure, and runs of one class."""
    moments = np.arange(step / 2, answer.times[-1][1], step)
    heard = []
    for moment in moments:
        over = [p for (a, b), p in zip(answer.times, answer.probabilities) if a < moment < b]
        mean = np.mean(over, axis=0)
        heard.append((int(mean.argmax()), mean.max()) if mean.max() >= threshold else (-1, 0.0))
    runs, begin = [], 0
    for i in range(1, len(heard) + 1):
        if i == len(heard) or heard[i][0] != heard[begin][0]:
            if heard[begin][0] >= 0:
                score = np.mean([p for _, p in heard[begin:i]])
                runs.append((classes[heard[begin][0]], begin * step, i * step, score))
            begin = i
    return runs


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_events_are_those_of_every_moment(count, threshold):
    rng = np.random.default_rng(count)
    starts = [2.0 * i for i in range(count)]
    times = [(a, a + 4) for a in starts]
    times[-1] = (times[-1][0] - 0.5 * (count > 1), times[-1][1] - 0.5)  # the last one ends with the sound
    answer = said(times, rng.dirichlet([0.4] * 3, count))
    merged = events(answer, "abc", threshold)
    expected = at_each_moment(answer, "abc", threshold)
    assert [one[:3] for one in merged] == [one[:3] for one in expected]
    np.testing.assert_allclose([one.score for one in merged], [one[3] for one in expected], rtol=1e-6)


def test_the_forms(world, tmp_path):
    loud = np.random.default_rng(0).normal(0, 0.1, round(3.2 * SPEC.seconds * 8000))
    places = [tmp_path / "a" / "long.wav", tmp_path / "b" / "long.wav"]
    for place in places:
        place.parent.mkdir()
        soundfile.write(place, loud, 8000)

    def output(*options):
        words = [str(world.student), *map(str, places), "--segments", "--threshold", "0", *options]
        done = CliRunner().invoke(predict, words)
        assert done.exit_code == 0, done.output
        return done.stdout

    rows = list(csv.DictReader(io.StringIO(output("--csv", "--audacity", str(tmp_path / "tracks")))))
    assert {row["file"] for row in rows} == set(map(str, places)) and {row["class"] for row in rows} <= set(CLASSES)
    of_first = [row for row in rows if row["file"] == str(places[0])]
    assert float(of_first[0]["start_s"]) == 0 and float(of_first[-1]["end_s"]) == pytest.approx(
        3.2 * SPEC.seconds, abs=1e-3
    )
    assert all(a["end_s"] == b["start_s"] for a, b in itertools.pairwise(of_first))  # no gap at the threshold 0
    first, second = ((tmp_path / "tracks" / name).read_text() for name in ("long.wav.txt", "long.wav-2.txt"))
    assert first == second and len(first.splitlines()) == len(of_first)
    _, end, label = first.splitlines()[0].split("\t")
    assert float(end) == pytest.approx(float(of_first[0]["end_s"])) and label.startswith(of_first[0]["class"])
    (one, _) = map(json.loads, output("--json").splitlines())
    assert [event["class"] for event in one["events"]] == [row["class"] for row in of_first]
    assert output().splitlines()[0].startswith(str(places[0]))
    assert as_labels([Event("a\tb", 0, 1, 0.5)]) == "0.000000\t1.000000\ta b 0.50\n"


def test_what_a_run_refuses_is_no_event(world, tmp_path, monkeypatch):
    """The threshold of "none of these" is that of events, where no other is said."""
    loud = np.random.default_rng(0).normal(0, 0.1, round(3.2 * SPEC.seconds * 8000))
    soundfile.write(tmp_path / "long.wav", loud, 8000)
    whole = prediction.ensemble

    def counts(limit, *options):
        monkeypatch.setattr(
            prediction, "ensemble", lambda *given: [replace(one, threshold=limit) for one in whole(*given)]
        )
        words = [str(world.student), str(tmp_path / "long.wav"), "--segments", "--json", *options]
        return len(json.loads(CliRunner().invoke(predict, words).stdout)["events"])

    assert counts(2.0) == 0 < counts(0.0) == counts(2.0, "--threshold", "0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--threshold", "0.5"), "expected --segments with them"),
        (("--segments", "--threshold", "1.5"), "1.5"),
        (("--segments", "--microphone"), "without --microphone"),
    ],
)
def test_options_that_do_nothing_are_refused(world, options, message):
    done = CliRunner().invoke(predict, [str(world.student), "x.wav", *options])
    assert done.exit_code == 2 and message in done.output


def test_windows_are_counted_as_they_are_heard(world, tmp_path, monkeypatch):
    """The bar's length is the number of windows, and it is full at the end, also where a file was no sound."""
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(round(7.3 * SPEC.seconds * 8000)), 8000)
    (tmp_path / "none.wav").write_bytes(b"no sound")
    told, totals = [], []

    class Bar:
        def __init__(self, *_):
            totals.append(_[1])

        def __enter__(self):
            return told.append

        def __exit__(self, *_):
            return False

    monkeypatch.setattr("pipeline.commands.predict.progress", Bar)
    done = CliRunner().invoke(predict, [str(world.student), str(tmp_path)])
    members = prediction.ensemble([world.student])
    windows = len(prediction.predict_file(members, path).times)
    assert done.exit_code == 1 and sounds.window_count(path, SPEC) == windows
    assert totals == [windows + 1] == [sum(told)] and len(told) > 2


def test_a_stream_without_a_length_has_its_windows(world, tmp_path):
    """A FLAC that was written to a pipe says 0 frames in its head, which libsndfile gives as the largest number there is."""
    path = tmp_path / "piped.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 8000), 8000)
    head = bytearray(path.read_bytes())
    head[21] &= 0xF0
    head[22:42] = bytes(20)  # the low 32 bits of the number of frames, and the sum of the sound's bytes
    path.write_bytes(head)
    done = CliRunner().invoke(predict, [str(world.student), str(path)])
    assert done.exit_code == 0 and sounds.window_count(path, SPEC) == 1, done.output


@pytest.mark.parametrize("samples", [1, 7, 8, 9, 10, 11, 12, 13, 40, 41, 43])
def test_windows_are_counted_without_a_list_of_them(tmp_path, samples):
    spec = replace(SPEC, sr=8, seconds=1.0, hop_length=2)
    soundfile.write(tmp_path / "x.wav", np.zeros(samples), 8)
    assert sounds.window_count(tmp_path / "x.wav", spec) == len(sounds.starts(samples, 8, 2))


def test_a_name_as_long_as_a_file_system_takes_has_its_label_track(tmp_path):
    letters = {"a": 1, "ü": 2, "音": 3, "\udcff": 1}
    sounds = [
        letter * ((255 - len(end)) // size) + end for letter, size in letters.items() for end in (".wav", "2.wav")
    ]
    tracks: list[str] = []
    for sound in [*sounds, sounds[0], "hen.wav", "hen.wav"]:
        tracks.append(track_name(sound, tracks))
        write_atomic(tmp_path / tracks[-1], b"")
    assert len(set(tracks)) == len(tracks) == len(list(tmp_path.iterdir())) and tracks[-2:] == [
        "hen.wav.txt",
        "hen.wav-2.txt",
    ]
