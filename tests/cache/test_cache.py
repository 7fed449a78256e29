"""The file of a fold: what it says, that it is whole or not there, and what is refused on reading."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import cache
from pipeline.cache import Failure, File, Header, reading
from pipeline.config import (
    FEATURES,
    VIEWS,
    FeatureSpec,
    InputError,
)
from tests.cache.changed import wait_a_tick

SPEC = FeatureSpec(seconds=0.5, bins=12, bins_per_octave=36)


def header(fold: int = 1, clips: int = 7, **changes: object) -> Header:
    names = tuple(f"{fold}-clip-ü{i:02d}.wav" for i in range(clips))
    files = tuple(
        File(f"audio/{n}", 1000 + i, 10**18 + i, "ab" * 32, None if i % 2 else 0.25 * i) for i, n in enumerate(names)
    )
    skipped = (Failure("bad.wav", File("audio/bad.wav", 3, 5, "", 1.5), "too short", "1.5 s", "0.2 s"),)
    default = Header(
        "toy",
        "urbansound8k",
        True,
        fold,
        ("dog", "drill"),
        SPEC,
        names,
        tuple(i % 2 for i in range(clips)),
        tuple(f"rec{i // 2}" for i in range(clips)),
        files,
        skipped,
        {"librosa": "0.11.0", "python": "3"},
        False,
        False,
        ("dB",) * 5,
        tuple(f"librosa.feature.{f}(…)" for f in FEATURES),
    )
    return dataclasses.replace(default, **changes)  # type: ignore[arg-type]


def values(header: Header, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(header.shape).astype(np.float32)


def write(folder: Path, header: Header, seed: int = 0) -> Path:
    path = folder / f"fold{header.fold}.h5"
    cache.write_fold(path, header, [values(header, seed)])
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("clips", [7, 0])
def test_a_fold_reads_back_as_it_was_written(tmp_path: Path, compressed: bool, clips: int) -> None:
    head = header(clips=clips, compressed=compressed)
    x = values(head)
    path = tmp_path / "new" / "fold1.h5"
    digest = cache.write_fold(path, head, [x[:3], x[3:4], x[4:]])
    fold = cache.read_fold(path)
    assert fold.header == dataclasses.replace(head, digest=digest, compressed=compressed and clips > 0)
    assert fold.features.dtype == np.float32
    np.testing.assert_array_equal(fold.features, x)
    names = "\n".join(head.clips).encode()
    assert digest == hashlib.sha256(x.tobytes() + np.array(head.labels, "<i8").tobytes() + names).hexdigest()
    assert [p.name for p in path.parent.iterdir()] == ["fold1.h5"]


def test_the_same_content_is_the_same_file(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, header()).read_bytes() for name in ("a", "b"))
    assert first == second


def test_axes_carry_scales_labels_and_units(tmp_path: Path) -> None:
    head = header()
    with h5py.File(write(tmp_path, head)) as file:
        features = file["features"]
        assert features.dtype == np.float32
        assert features.chunks is None and features.compression is None
        assert [dim.label for dim in features.dims] == ["clip", "view", "feature", "bin", "frame"]
        scales = [dim[0] for dim in features.dims]
        assert scales[0].asstr()[()].tolist() == list(head.clips)
        assert scales[1].asstr()[()].tolist() == list(VIEWS) == ["clean", "noisy"]
        assert scales[2].asstr()[()].tolist() == list(FEATURES)
        assert scales[3][()].tolist() == list(range(12))
        np.testing.assert_allclose(scales[4][()], np.arange(SPEC.frames) * 512 / 22050)
        assert scales[4].attrs["units"] == "s"
        for name in ("label", "source", "file/size", "file/sha256"):
            assert file[name].dims[0].label == "clip"
            assert file[name].dims[0][0] == file["clip"]
        described: list[str] = []
        file.visititems(lambda name, item: described.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in described:
            assert file[name].attrs["description"] and "units" in file[name].attrs, name
        assert file["file/mtime_ns"].attrs["units"] == "ns"
        assert json.loads(file.attrs["spec"]) == dataclasses.asdict(SPEC)
        assert json.loads(file.attrs["versions"])["librosa"] == "0.11.0"
        assert list(file.attrs["classes"]) == ["dog", "drill"]
        assert file.attrs["skipped"] == 1 and bool(file.attrs["synthetic"])


def test_compressed_is_gzip_and_shuffle_a_clip(tmp_path: Path) -> None:
    with h5py.File(write(tmp_path, header(compressed=True))) as file:
        features = file["features"]
        assert (features.compression, features.shuffle, features.chunks[0]) == ("gzip", True, 1)


def test_debians_tools_read_it(tmp_path: Path) -> None:
    path = write(tmp_path, header())
    assert path.read_bytes()[:9] == b"\x89HDF\r\n\x1a\n\x00", "superblock 0: any HDF5 since 1.0 reads it"
    if not (shutil.which("h5ls") and shutil.which("h5dump")):
        pytest.skip("hdf5-tools are not installed")
    listing = subprocess.run(["h5ls", "-r", path], capture_output=True, text=True, check=True).stdout
    assert "{7, 2, 5, 12, 22}" in listing
    dump = subprocess.run(["h5dump", "-d", "/source", path], capture_output=True, text=True, check=True).stdout
    assert '"rec3"' in dump


def test_a_failed_write_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    head = header()
    x = values(head)

    def blocks():  # type: ignore[no-untyped-def]
        yield x[:3]
        raise OSError(errno.EIO, "cable pulled")

    with pytest.raises(OSError, match="cable"):
        cache.write_fold(tmp_path / "fold1.h5", head, blocks())
    assert list(tmp_path.iterdir()) == []
    before = write(tmp_path, head).read_bytes()
    with pytest.raises(OSError, match="cable"):
        cache.write_fold(tmp_path / "fold1.h5", head, blocks())
    with pytest.raises(ValueError, match="3 clips were given, 7"):
        cache.write_fold(tmp_path / "fold1.h5", head, [x[:3]])
    assert [p.name for p in tmp_path.iterdir()] == ["fold1.h5"]
    assert (tmp_path / "fold1.h5").read_bytes() == before


def test_other_settings_are_another_path() -> None:
    paths = {
        cache.fold_path(Path("c"), "toy", dataclasses.replace(SPEC, **change), 3)  # type: ignore[arg-type]
        for change in ({}, {"noise_std": 0.01}, {"tuning": 0.0}, {"version": 2}, {"n_fft": 1024})
    }
    assert len(paths) == 5
    assert all(p.parts[:2] == ("c", "toy") and p.name == "fold3.h5" and p.parts[2].startswith("f12-") for p in paths)


def test_load_puts_folds_one_after_another(tmp_path: Path) -> None:
    paths = [
        write(tmp_path, header(2, 4), 2),
        write(tmp_path, header(1, 0, skipped=()), 1),
        write(tmp_path, header(5, 3), 5),
    ]
    data = cache.load(paths)
    np.testing.assert_array_equal(data.features, np.concatenate([values(header(2, 4), 2), values(header(5, 3), 5)]))
    assert data.folds.tolist() == [2] * 4 + [5] * 3
    assert data.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert data.labels.dtype == data.folds.dtype == np.int64
    assert data.clips == header(2, 4).clips + header(5, 3).clips
    assert data.sources == ("rec0", "rec0", "rec1", "rec1", "rec0", "rec0", "rec1")
    assert (data.corpus, data.synthetic, data.spec, data.classes) == ("toy", True, SPEC, ("dog", "drill"))
    assert data.skipped == {2: 1, 1: 0, 5: 1}
    assert data.digests == {h.fold: h.digest for h in map(cache.read_header, paths)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"corpus": "other"}, "corpus = 'other', but 'toy'"),
        ({"classes": ("dog", "cat")}, "classes"),
        ({"synthetic": False}, "synthetic = False, but True"),
        ({"spec": dataclasses.replace(SPEC, noise_std=0.01)}, "noise_std = 0.01, but noise_std = 0.001"),
        ({"fold": 1}, "fold 1 is given twice"),
    ],
)
def test_load_refuses_folds_that_do_not_belong_together(tmp_path: Path, change: dict, words: str) -> None:
    other = write(tmp_path / "other", header(2)) if "fold" not in change else write(tmp_path / "other", header(1))
    changed = dataclasses.replace(header(2), **change)
    cache.write_fold(other, changed, [values(changed)])
    with pytest.raises(InputError, match=words) as caught:
        cache.load([write(tmp_path, header(1)), other])
    assert "\n" not in str(caught.value)


def test_load_of_nothing_is_an_error() -> None:
    with pytest.raises(InputError, match="no feature files"):
        cache.load([])


def test_missing_damaged_and_foreign_files_are_one_clear_line(tmp_path: Path) -> None:
    good = write(tmp_path, header())
    files = {name: tmp_path / f"{name}.h5" for name in ("missing", "text", "empty", "cut", "foreign", "newer", "later")}
    files["text"].write_text("not HDF5 at all")
    files["empty"].write_bytes(b"")
    files["cut"].write_bytes(good.read_bytes()[:-5000])
    with h5py.File(files["foreign"], "w") as file:
        file["features"] = np.zeros(3)
    shutil.copy(good, files["newer"])
    with h5py.File(files["newer"], "a") as file:
        file.attrs["schema"] = 99
    shutil.copy(good, files["later"])
    with h5py.File(files["later"], "a") as file:
        file.attrs["spec"] = json.dumps({**json.loads(file.attrs["spec"]), "loudness": "k-weighted"})
    words = {
        "missing": "compute them first",
        "foreign": "not the features of a fold",
        "newer": "schema 99, expected 1; a newer audio-rkd made it, or it is damaged: update audio-rkd, or delete it",
        "later": "this version knows no setting features.loudness; a newer audio-rkd made it, or",
    }
    for name, path in files.items():
        for read in (cache.read_header, cache.read_fold, lambda p: cache.load([p])):
            with pytest.raises(InputError, match=words.get(name, "damaged")) as caught:
                read(path)
            assert str(path) in str(caught.value) and "\n" not in str(caught.value)
            assert "make features" in str(caught.value)


def test_a_flipped_bit_in_a_text_is_read_through_or_is_one_line(tmp_path: Path) -> None:
    """In texts only: elsewhere HDF5 itself may crash, which nobody can catch."""
    spec = dataclasses.replace(SPEC, seconds=0.05, bins=4)
    content, path, refused = write(tmp_path, header(spec=spec)).read_bytes(), tmp_path / "flipped.h5", 0
    places = [
        content.find(text) + i
        for text in (b'{"seconds"', b'{"librosa"', "1-clip-ü03".encode(), b"drill")
        for i in range(0, 5 if text == b"drill" else 12, 3)
    ]
    for place, bit in itertools.product(places, range(8)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        try:
            cache.read_fold(path)
        except InputError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused == 8 * len(places)  # also where the text would still be one


def edit_spec(file: h5py.File) -> None:
    file.attrs["spec"] = file.attrs["spec"].replace("12", "13")


def edit_label(file: h5py.File) -> None:
    file["label"][3] = 1 << 40


def edit_text(file: h5py.File) -> None:
    del file["source"]
    file["source"] = np.array([b"\xff\xfe"] * 7, dtype=h5py.string_dtype())


def edit_length(file: h5py.File) -> None:
    del file["source"]
    file["source"] = ["r"] * 6


@pytest.mark.parametrize("edit", [edit_spec, edit_label, edit_text, edit_length])
def test_a_header_that_does_not_fit_together_is_damage(tmp_path: Path, edit: Callable[[h5py.File], None]) -> None:
    path = write(tmp_path, header())
    with h5py.File(path, "r+") as file:
        edit(file)
    with pytest.raises(InputError, match=r"damaged .*delete it|expected a multiple of 13") as caught:
        cache.read_header(path)
    assert "\n" not in str(caught.value)


def test_no_room_is_said_before_hdf5_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, header())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "read", [lambda path: cache.load([path]), lambda path: list(cache.feature_blocks(path)), cache.check]
)
def test_a_file_that_is_replaced_while_it_is_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    path, header_first = write(tmp_path, header()), reading.read_header

    def then_replaced(where: Path) -> Header:
        before = header_first(where)
        write(tmp_path, header(), seed=1)
        wait_a_tick()  # behind a tick of the clock a check is kept
        return before

    with monkeypatch.context() as patch:
        patch.setattr(reading, "read_header", then_replaced)
        with pytest.raises(InputError, match=r"wrote it anew while it was read; the same command again"):
            read(path)
    assert not cache.check(path).damaged, "what came of a check is kept of the file that was checked"
