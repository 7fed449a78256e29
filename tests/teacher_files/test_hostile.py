"""Teacher files that were made to mislead: nothing of another file is read, nothing is run, no more is read than memory holds."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.config import InputError
from pipeline.teacher_files import fitting, reading
from pipeline.teacher_files.choosing import of_fold
from pipeline.teacher_files.reading import read
from tests.teacher_files.test_reading import CLASSES, CLIPS, LOGITS, MAPS, arrays, checked, written
from tests.tiny import QUICK, audio_rkd, write_corpus


def hdf5(path: Path, edit: Callable[[h5py.File], Any]) -> Path:
    """A good file that another program wrote, without a checksum, then changed."""
    written(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["sha256"]
        edit(file)
    return path


def put(name: str, **how: Any) -> Callable[[h5py.File], Any]:
    """A dataset in the place of ``name``."""

    def edit(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **how)

    return edit


def linked(name: str, link: Any) -> Callable[[h5py.File], Any]:
    def edit(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = link

    return edit


@pytest.mark.parametrize("kind", ["npz", "h5"])
@pytest.mark.parametrize("dtype", ["<f2", ">f2", ">f4", ">f8", "longdouble"])
def test_numbers_of_any_precision_and_byte_order_are_the_same_teacher(tmp_path: Path, kind: str, dtype: str) -> None:
    rounded = LOGITS.astype(dtype)
    path = written(tmp_path / f"t.{kind}", logits=rounded, trained_on=np.array([2, 3], ">i8"))
    checked(path)
    laid = fitting.outputs(read(path), 1, CLIPS)["logits"]
    assert laid.dtype == np.float32 and laid.dtype.isnative
    assert np.array_equal(laid[8:], rounded.reshape(24, 3)[8:].astype(np.float32))


def test_compressed_arrays_and_names_of_fixed_length_are_the_same_teacher(tmp_path: Path) -> None:
    squeezed = {"data": LOGITS, "compression": "gzip", "shuffle": True, "fletcher32": True}
    path = hdf5(tmp_path / "t.h5", put("logits", **squeezed))
    with h5py.File(path, "r+") as file:
        put("classes", data=np.array(CLASSES, "S"))(file)
    checked(path)
    assert np.array_equal(read(path).outputs["logits"][0], LOGITS.reshape(24, 3)) and read(path).classes == CLASSES
    np.savez_compressed(tmp_path / "t.npz", **arrays())
    checked(tmp_path / "t.npz")


def test_no_link_leads_out_of_an_hdf5_file(tmp_path: Path) -> None:
    """Neither for an array nor for the group of maps: what it says must not depend on another file."""
    other = str(written(tmp_path / "other.h5"))
    layout = h5py.VirtualLayout((12, 2, 5), "f4")
    layout[...] = h5py.VirtualSource(other, "embedding", (12, 2, 5))
    edits = {
        "array": linked("logits", h5py.ExternalLink(other, "logits")),
        "maps": linked("maps", h5py.ExternalLink(other, "maps")),
        "map": linked("maps/map1", h5py.ExternalLink(other, "maps/map1")),
        "soft": linked("maps", h5py.SoftLink("/elsewhere")),
        "alias": linked("hidden", h5py.SoftLink("/embedding")),
        "raw": put("embedding", shape=(12, 2, 5), dtype="f4", external=[(other, 0, 480)]),
        "virtual": lambda file: (file.__delitem__("embedding"), file.create_virtual_dataset("embedding", layout)),
        "no group": linked("maps", MAPS),
        "type": linked("hidden", np.dtype("f4")),
        "references": put("embedding", shape=(12,), dtype=h5py.ref_dtype),
        "ragged": put("embedding", shape=(12,), dtype=h5py.vlen_dtype("f4")),
        "none": put("embedding", data=h5py.Empty("f4")),
        "compound": put("embedding", data=np.zeros((12, 2, 5), [("a", "f4")])),
    }
    for name, edit in edits.items():
        with pytest.raises(InputError) as refused:
            read(hdf5(tmp_path / f"{name}.h5", edit))
        assert f"{name}.h5" in str(refused.value) and "expected" in str(refused.value) and len(str(refused.value)) < 400


def header(shape: tuple[int, ...]) -> bytes:
    """The beginning of an array's file that claims a shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


def with_member(path: Path, name: str, content: bytes) -> Path:
    """A good npz, with one member in the place of another, or more."""
    written(path)
    with zipfile.ZipFile(path) as archive:
        members = {part: archive.read(part) for part in archive.namelist()} | {name: content}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, value in members.items():
            archive.writestr(part, value)
    return path


def test_a_small_file_of_large_arrays_is_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "free_memory", lambda: 10**6)
    bomb = with_member(tmp_path / "bomb.npz", "embedding.npy", header((12, 2, 10**5)) + bytes(9600000))
    hollow = hdf5(tmp_path / "hollow.h5", put("embedding", shape=(12, 2, 10**9), dtype="f4", chunks=(1, 1, 1000)))
    names = hdf5(tmp_path / "names.h5", put("clip", shape=(10**9,), dtype=h5py.string_dtype(), chunks=(1000,)))

    def unread(*_: Any) -> str:
        raise AssertionError("it was unpacked")

    monkeypatch.setattr(reading, "damaged_part", unread)
    monkeypatch.setattr(reading, "values_of", unread)
    for path, size in ((bomb, "0.0 GB"), (hollow, "96.0 GB"), (names, "64.0 GB")):
        assert path.stat().st_size < 100_000
        with pytest.raises(InputError, match=rf"{path.name}: its arrays take {size}, and 0.0 GB of memory are free"):
            read(path)


def test_members_of_an_archive_that_are_no_arrays_are_one_line_and_run_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()".encode().ljust(239) + b"\n"
    members = {
        "code": ("logits.npy", b"\x93NUMPY\x01\x00\xf0\x00" + code),
        "deep": ("logits.npy", b"\x93NUMPY\x01\x00\xd0\x07" + b"(" * 1000 + b")" * 999 + b"\n"),
        "claims": ("logits.npy", header((10**15,)) + bytes(64)),
        "negative": ("logits.npy", header((-1,))),
        "bare": ("hidden", b"1 2 3"),
        "folder": ("maps/", b""),
        "dunder": ("__class__.npy", header((1,)) + bytes(4)),
        "away": ("../../evil.npy", header((1,)) + bytes(4)),
    }
    for name, (member, content) in members.items():
        with pytest.raises(InputError) as refused:
            read(with_member(tmp_path / f"{name}.npz", member, content))
        assert f"{name}.npz" in str(refused.value) and "\n" not in str(refused.value)
    assert not mark.exists() and not (tmp_path.parents[1] / "evil.npy").exists()


def test_what_is_refused_is_said_by_its_own_name(tmp_path: Path) -> None:
    """A long header is no Python object: numpy's message names pickling beside it."""
    long = np.zeros(12, [(f"field {i}", "<f4") for i in range(1000)])
    cases = {
        "logits": (long, "logits has a header of more than 10,000 bytes; expected plain numbers or text"),
        "hidden": (np.array([None] * 12), "hidden holds Python objects, which are never unpickled"),
    }
    for name, (values, message) in cases.items():
        np.savez(tmp_path / f"{name}.npz", **{**arrays(), name: values})
        with pytest.raises(InputError) as refused:
            read(tmp_path / f"{name}.npz")
        assert message in str(refused.value) and ("pickle" in str(refused.value)) == (name == "hidden")


SEEN = {
    "its own": np.array([1]),
    "among others": np.array([3, 1, 2], np.int8),
    "big-endian": np.array([1], ">u4"),
    "fractions": np.array([1.0]),
    "text": np.array(["1"]),
    "bytes": np.array([b"1"]),
    "truth": np.array([True]),
    "complex": np.array([1 + 0j]),
    "one number": np.array(1),
    "three axes": np.array([[[1]]]),
    "past the largest": np.array([1, 2**64 - 1], np.uint64),
}


@pytest.mark.parametrize("kind", ["npz", "h5"])
@pytest.mark.parametrize("name", SEEN)
def test_a_teacher_that_saw_the_held_out_fold_is_refused_in_every_disguise(
    tmp_path: Path, name: str, kind: str
) -> None:
    path = written(tmp_path / f"t.{kind}", trained_on=SEEN[name])
    with pytest.raises(InputError):
        of_fold([path], 1, trust=True)


def test_an_axis_of_teachers_disguises_nothing(tmp_path: Path) -> None:
    def of_three(name: str, **changes: Any) -> Path:
        each = {"logits": np.stack([LOGITS] * 3), "embedding": None, "maps/map1": None, "fold": np.array([1, 2, 3])}
        return written(tmp_path / f"{name}.npz", **{**each, **changes})

    seen = of_three("seen", trained_on=np.array([[1, 2], [1, 3], [1, 2]]))
    with pytest.raises(InputError, match="fold 1 is held out, and was trained on"):
        of_fold([seen], 1)
    assert of_fold([seen], 2) == (seen,)
    for name, changes in {
        "text": {"fold": np.array(["1", "2", "3"])},
        "fractions": {"fold": np.array([1.0, 2.0, 3.0])},
        "one list": {"trained_on": np.array([2, 3])},
        "too few": {"trained_on": np.array([[2, 3], [1, 3]])},
        "twice": {"trained_on": np.array([[2, 3], [2, 3], [1, 2]]), "fold": np.array([1, 1, 3])},
    }.items():
        with pytest.raises(InputError):
            of_fold([of_three(name, **{"trained_on": np.array([[2, 3], [1, 3], [1, 2]]), **changes})], 1, trust=True)


@pytest.mark.slow
def test_the_command_ends_with_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    corpus = ("--dataset", "urbansound8k", "--data", "toy", *QUICK)
    write_corpus(tmp_path / "toy")
    assert audio_rkd(tmp_path, "features", *corpus).returncode == 0
    clips = np.array([f"{fold}{i:03}-{i % 2}-0-0.wav" for fold in (1, 2, 3) for i in range(6)])
    logits = np.random.default_rng(0).standard_normal((18, 2, 10)).astype(np.float32)
    names = np.array([f"class {i}" for i in range(10)])
    good = {"clip": clips, "view": np.array(["clean", "noisy"]), "logits": logits, "classes": names}
    good |= {"trained_on": np.array([2, 3])}
    hostile = {
        "names": {"classes": np.array(["a\nerror: forged\x1b[31m", *names[1:]])},
        "surrogate": {"classes": np.array(["\ud800", *names[1:]])},
        "bytes": {"classes": np.array([b"\xff"] * 10)},
        "objects": {"clip": clips.astype(object)},
        "pickled": {"logits": np.array([None] * 18, dtype=object)},
        "nobody": {"clip": clips[:0], "logits": logits[:0]},
        "seen": {"trained_on": np.array([1])},
        "text": {"trained_on": np.array(["2"])},
        "data": {"data": np.array("[" * 100_000)},
    }

    def there() -> list[Path]:
        return sorted(path for path in tmp_path.rglob("*") if path.suffix != ".npz")

    before = there()
    for name, changes in hostile.items():
        np.savez(tmp_path / f"{name}.npz", **{**good, **changes})
        done = audio_rkd(tmp_path, "distill", *corpus, "--losses", "soft", "--folds", "1", "--teacher", f"{name}.npz")
        lines = done.stderr.strip().splitlines()
        assert done.returncode == 1 and len(lines) == 1, done
        assert lines[0].startswith("error: ") and f"{name}.npz" in lines[0]
        assert "\x1b" not in done.stderr and "Traceback" not in done.stderr
        assert there() == before, name
