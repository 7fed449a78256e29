"""What ``make inspect`` shows is what is in the file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

import cli
from pipeline import cache
from pipeline.cache import Failure, File, Header
from pipeline.config import FEATURES, FeatureSpec, InputError
from pipeline.report import inspection
from pipeline.report.plots import clip

SPEC = FeatureSpec(seconds=0.5, bins=12, bins_per_octave=36)
CLIPS = tuple(f"clip{i:02d}.wav" for i in range(70))


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A fold of 70 clips with known oddities: feature 2 is 1/4 zeros, feature 3 has NaN and infinity in it."""
    files = tuple(File(f"audio/{name}", 10, 20, "", 0.5) for name in CLIPS)
    skipped = (Failure("bad.wav", File("audio/bad.wav", 3, 5), "cut off", "0.5 s", "0.2 s"),)
    header = Header(
        "toy",
        "urbansound8k",
        True,
        3,
        ("dog", "drill", "siren"),
        SPEC,
        CLIPS,
        tuple(0 if i < 50 else 2 for i in range(70)),
        tuple(f"r{i // 2}" for i in range(70)),
        files,
        skipped,
        {"librosa": "0.11.0"},
        False,
        False,
        ("dB (x)", "dB re 1, y", "1 (z)", "1", "1"),
        tuple(f"librosa.feature.{name}(y=y)" for name in FEATURES),
    )
    x = np.random.default_rng(0).normal(3.0, 2.0, header.shape).astype(np.float32)
    x[:, :, 2, :3] = 0
    x[69, 1, 3, 0, :2] = np.nan, -np.inf
    path = tmp_path / "fold3.h5"
    cache.write_fold(path, header, [x])
    return path, x


def test_figures_are_those_of_the_arrays(written: tuple[Path, np.ndarray]) -> None:
    path, x = written
    info = inspection.inspect_fold(path)
    for i, name in enumerate(FEATURES):
        value = info["values"][name]
        good = x[:, :, i][np.isfinite(x[:, :, i])].astype(np.float64)
        for key, expected in (
            ("min", good.min()),
            ("mean", good.mean()),
            ("max", good.max()),
            ("sd", good.std()),
        ):
            assert value[key] == pytest.approx(expected, rel=1e-6), (name, key)
        assert value["zeros"] == pytest.approx((x[:, :, i] == 0).mean())
        assert value["nonfinite"] == (2 if i == 3 else 0)
        assert value["call"] == f"librosa.feature.{name}(y=y)"
    assert info["values"]["chroma_stft"]["zeros"] == pytest.approx(0.25)
    assert info["classes"] == {"dog": 50, "drill": 0, "siren": 20}
    assert (info["clips"], info["recordings"], info["fold"], info["synthetic"]) == (70, 35, 3, True)
    assert info["tree"]["features"]["shape"] == [70, 2, 5, 12, 22]
    assert info["tree"]["features"]["axes"] == ["clip", "view", "feature", "bin", "frame"]
    assert info["scales"]["frame"]["unit"] == "s"
    assert info["scales"]["frame"]["last"] == pytest.approx(21 * 512 / 22050)
    assert info["scales"]["clip"]["last"] == "clip69.wav"
    assert info["spec"] == dataclasses.asdict(SPEC)
    assert info["skipped"] == [
        {
            "clip": "bad.wav",
            "path": "audio/bad.wav",
            "reason": "cut off",
            "expected": "0.5 s",
            "found": "0.2 s",
        }
    ]
    assert json.loads(json.dumps(info, allow_nan=False)) == info


def test_the_text_is_one_screen_with_what_matters(written: tuple[Path, np.ndarray]) -> None:
    text = inspection.fold_text(inspection.inspect_fold(written[0], verify=True))
    assert len(text.splitlines()) <= 40
    for words in (
        "SYNTHETIC",
        "70 clips of 35 recordings",
        "dog 50",
        "siren 20",
        "noise_std 0.001",
        "librosa 0.11.0",
        "25.00%",
        "dB (x)",
        "audio/bad.wav: cut off (expected 0.5 s, found 0.2 s)",
        "features, labels and clip names are as written",
        "(clip 70, view 2, feature 5, bin 12, frame 22)",
    ):
        assert words in text, words


def test_one_changed_value_is_found_also_without_verify(written: tuple[Path, np.ndarray]) -> None:
    path, _ = written
    with h5py.File(path, "r+") as file:
        file["features"][35, 1, 4, 3, 2] += np.float32(1e-3)
    for verify in (False, True):
        with pytest.raises(InputError, match=r"1 clip are not what was written \(clip35\.wav"):
            inspection.inspect_fold(path, verify=verify)


def test_verify_finds_a_damaged_chunk(written: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    fold = cache.read_fold(written[0])
    path = tmp_path / "zipped.h5"
    cache.write_fold(path, dataclasses.replace(fold.header, compressed=True), [fold.features])
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged|not what was written"):
        inspection.inspect_fold(path, verify=True)


def test_an_empty_fold_and_a_feature_without_a_finite_value(tmp_path: Path, written: tuple[Path, np.ndarray]) -> None:
    fold = cache.read_fold(written[0])
    empty = dataclasses.replace(fold.header, clips=(), labels=(), sources=(), files=())
    cache.write_fold(tmp_path / "empty.h5", empty, [])
    info = inspection.inspect_fold(tmp_path / "empty.h5", verify=True)
    assert info["values"]["mfcc"]["mean"] is None and info["scales"]["clip"]["n"] == 0
    assert "0 clips" in inspection.fold_text(info)


def test_the_picture_shows_both_views_of_the_clip(written: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path, x = written
    header = cache.read_header(path)
    with cache.opened(path) as file:
        figure = clip.clip_figure(header, 5, file["features"][5], file["frame"][()])
    panels = [axes for axes in figure.axes if axes.images and axes.get_title()]
    assert len(panels) == 10
    for i, axes in enumerate(panels):
        image = axes.images[0]
        np.testing.assert_array_equal(image.get_array(), x[5, i % 2, i // 2])
        assert image.get_clim() == panels[i - i % 2].images[0].get_clim(), "both views on one scale"
        assert FEATURES[i // 2] in axes.get_title()
    assert panels[8].get_xlabel() == "time / s" and panels[0].get_ylabel() == "coefficient"
    assert "clean" in panels[0].get_title() and "noisy" in panels[1].get_title()
    target = clip.clip_picture(path, "clip05.wav", tmp_path / "new" / "clip.png")
    assert target.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_an_unknown_clip_is_named_with_the_nearest(written: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no clip 'clip5.wav'; nearest: clip\d5.wav|nearest: clip5"):
        clip.clip_picture(written[0], "clip5.wav", tmp_path / "x.png")
    with pytest.raises(InputError, match="it was skipped"):
        clip.clip_picture(written[0], "bad.wav", tmp_path / "x.png")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("picture.xyz", r"picture\.xyz: expected a name that ends in \.png"),
        ("picture", r"picture: expected a name that ends in \.png"),
        ("folder.png", r"folder\.png is a folder; expected a file, for example .*folder\.png/clip\.png"),
        ("fold3.h5/x.png", "expected a file that can be written: --output FILE"),
        ("/proc/nothing/x.png", "expected a file that can be written: --output FILE"),
    ],
)
def test_a_picture_that_cannot_be_written_is_one_line(
    written: tuple[Path, np.ndarray], tmp_path: Path, target: str, words: str
) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=words) as caught:
        clip.clip_picture(written[0], "clip05.wav", tmp_path / target)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fold3.h5", "folder.png"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a corpus of three folds, and features of the first two."""
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for fold in (1, 2, 3):
        (tmp_path / "toy" / "audio" / f"fold{fold}").mkdir(parents=True)
        (tmp_path / "toy" / "audio" / f"fold{fold}" / f"{fold}-0-0-0.wav").write_bytes(b"sound")
        rows.append(f"{fold}-0-0-0.wav,{fold},0,4,1,{fold},0,air_conditioner")
    (tmp_path / "toy" / "metadata").mkdir()
    (tmp_path / "toy" / "metadata" / "UrbanSound8K.csv").write_text("\n".join(rows) + "\n")
    for fold in (1, 2):
        clips = (f"{fold}-0-0-0.wav",)
        header = Header(
            "toy",
            "urbansound8k",
            False,
            fold,
            ("air_conditioner",),
            FeatureSpec(),
            clips,
            (0,),
            ("r",),
            (File("x", 1, 2),),
            (),
            {},
            False,
            False,
            ("1",) * 5,
            ("f",) * 5,
        )
        path = cache.fold_path(tmp_path / "cache", "toy", FeatureSpec(), fold)
        cache.write_fold(path, header, [np.ones(header.shape, np.float32)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def inspected(*arguments: str) -> Result:
    return CliRunner().invoke(
        cli.main,
        ["inspect", "--dataset", "urbansound8k", "--data", "toy", *arguments],
        catch_exceptions=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--fold", "99"), 1, "fold 99: toy has the folds 1, 2, 3"),
        (("--fold", "3"), 1, "no features of fold 3"),
        (("--clip", "1-0-0-0.wav", "--json"), 2, "give one or the other"),
        (("--clip", "1-0-0-0.wav", "--verify"), 2, "give one or the other"),
        (("--output", "x.png"), 2, "expected --clip NAME"),
        (("--set", "features.seconds=2"), 1, "features.seconds=2: the clip length is the corpus', 4 s"),
    ],
)
def test_what_inspect_refuses(place: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = inspected(*arguments)
    assert done.exit_code == code and words in done.stderr and not done.stdout
    assert not (place / "reports").exists()


def test_inspect_takes_the_fold_that_is_asked_for(place: Path) -> None:
    assert json.loads(inspected("--json").stdout)["fold"] == 1
    assert json.loads(inspected("--json", "--verify", "--fold", "2").stdout)["fold"] == 2
    assert json.loads(inspected("--json", "--set", "features.seconds=4").stdout)["verified"] is None


def test_inspect_in_an_empty_folder_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.main, ["inspect"], catch_exceptions=False)
    assert done.exit_code == 1 and "make features" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bins", [8, 12, 20, 24, 40])
def test_the_row_of_c_is_that_of_librosas_banks(bins: int) -> None:
    """A tone at C6 (1046.5 Hz) through both banks: where most of it goes."""
    import librosa

    spectrum = np.zeros(1 + 2**15 // 2)
    spectrum[round(1046.502 * 2**15 / 22050)] = 1.0
    stft = librosa.filters.chroma(sr=22050, n_fft=2**15, n_chroma=bins) @ spectrum
    assert stft.argmax() == inspection.row_of_c("chroma_stft", bins)
    cq = librosa.filters.cq_to_chroma(7 * 2 * bins, bins_per_octave=2 * bins, n_chroma=bins)
    assert cq[:, 0].argmax() == cq[:, 5 * 2 * bins].argmax() == inspection.row_of_c("chroma_cqt", bins) == 0


def test_inspect_says_where_chromagrams_are_rows_apart(written: tuple[Path, np.ndarray]) -> None:
    info = inspection.inspect_fold(written[0])
    assert info["row_of_c"] == {"chroma_stft": 0, "chroma_cqt": 0, "chroma_cens": 0}  # of 12 rows
    assert "pitch class C" not in inspection.fold_text(info)
    info["row_of_c"]["chroma_stft"] = inspection.row_of_c("chroma_stft", 20)
    text = inspection.fold_text(info)
    assert "C is row 2 of chroma_stft and row 0 of chroma_cqt and chroma_cens: 2 rows off" in text
    assert max(map(len, text.splitlines())) < 200
