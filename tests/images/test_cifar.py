"""CIFAR-100: archives of the published form read back, and nothing but arrays, bytes, lists and dicts loaded."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import InputError
from pipeline.images import cifar, pickles
from pipeline.images.cifar import find_cifar100, read_cifar100, split
from tests.archives import MARK, python2, python2_pickle, stand_in, write_archive, write_stand_in

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_stand_in(tmp_path / cifar.ARCHIVE)


def test_the_writer_of_these_tests_speaks_pickle() -> None:
    for value in stand_in().values():
        values = pickle.loads(python2_pickle(value), encoding="bytes")
        assert values.keys() == value.keys()
        for key in value:
            np.testing.assert_array_equal(values[key], value[key])


def test_images_labels_and_classes_come_back(archive: Path) -> None:
    images, wanted = read_cifar100(archive, checksum=None), stand_in()
    assert images.train.shape == (40, 3, 32, 32) and images.train.dtype == np.uint8
    assert images.test.shape == (20, 3, 32, 32) and images.test_labels.dtype == np.int64
    assert images.classes == ("class0", "class1", "class2", "class3")
    assert images.train_labels.tolist() == wanted["train"][b"fine_labels"]
    rows = wanted["train"][b"data"]
    assert isinstance(rows, np.ndarray)
    for n, channel, y, x in [
        (0, 0, 0, 0),
        (7, 1, 3, 5),
        (39, 2, 31, 30),
    ]:  # red, then green, then blue; row by row
        assert images.train[n, channel, y, x] == rows[n, 1024 * channel + 32 * y + x]
    images.train[0] = 0  # memory of its own, that can be written


def test_the_unpacked_folder_reads_the_same(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    packed, unpacked = (read_cifar100(p, checksum=None) for p in (archive, tmp_path / cifar.FOLDER))
    np.testing.assert_array_equal(packed.train, unpacked.train)
    np.testing.assert_array_equal(packed.test_labels, unpacked.test_labels)
    assert packed.classes == unpacked.classes


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_of_today_and_column_major_arrays(tmp_path: Path, protocol: int, order: str) -> None:
    wanted = stand_in()
    for name in ("train", "test"):
        data = wanted[name][b"data"]
        assert isinstance(data, np.ndarray)
        wanted[name][b"data"] = np.array(data, order=order)  # type: ignore[call-overload]
    path = write_archive(tmp_path / "a.tar.gz", {n: pickle.dumps(v, protocol) for n, v in wanted.items()})
    np.testing.assert_array_equal(read_cifar100(path, checksum=None).train.reshape(40, 3072), wanted["train"][b"data"])


def test_checksums(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"expected {cifar.MD5}"):
        read_cifar100(archive)
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    assert len(read_cifar100(archive, checksum=digest).train) == 40
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    with pytest.raises(InputError, match=f"train: MD5 .* expected {cifar.FILES['train']}"):
        read_cifar100(tmp_path / cifar.FOLDER)


class Command:
    def __init__(self, function: object, *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.reduced


def malicious(kind: str, trace: Path) -> bytes:
    """Pickles that leave ``trace`` behind, or get at something they should not, in an unguarded reader."""
    import os
    import subprocess

    touch = f"touch {trace}"
    if kind == "os.system":
        return pickle.dumps({"data": Command(os.system, touch)}, 2)
    if kind == "subprocess":
        return pickle.dumps({"data": Command(subprocess.check_call, ["touch", str(trace)])}, 2)
    if kind == "eval":
        return pickle.dumps({"data": Command(eval, f"open({str(trace)!r}, 'w')")}, 4)
    if kind == "dotted":  # protocol 4 looks a dotted name up attribute by attribute
        return b"\x80\x04\x8c\x05numpy\x8c\x0ff2py.os.system\x93\x8c" + bytes([len(touch)]) + touch.encode() + b"\x85R."
    if kind == "dtype's globals":
        return b"\x80\x04\x8c\x05numpy\x8c\x16dtype.__init__.__class__\x93."
    if kind == "extension":
        return b"\x80\x02\x82\x01."
    if kind == "persistent":
        return b"\x80\x02U\x01xQ."
    if kind == "state on a class":
        return b"\x80\x02cnumpy\nndarray\n}(U\x05stateK\x01ub."
    if kind == "state on a dict":
        return b"\x80\x02}}U\x05itemsK\x01sb."
    assert kind == "object array"
    return pickle.dumps({"data": np.array([Command(os.system, touch)], dtype=object)}, 2)


@pytest.mark.parametrize(
    "kind",
    [
        "os.system",
        "subprocess",
        "eval",
        "dotted",
        "dtype's globals",
        "extension",
        "persistent",
        "state on a class",
        "state on a dict",
        "object array",
    ],
)
@pytest.mark.parametrize("file", ["train", "meta"])
def test_malicious_pickles_are_refused_in_one_line(tmp_path: Path, kind: str, file: str) -> None:
    trace = tmp_path / "trace"
    contents = {name: python2_pickle(value) for name, value in stand_in().items()}
    path = write_archive(tmp_path / "a.tar.gz", contents | {file: malicious(kind, trace)})
    with pytest.raises(InputError, match=f"{file}: refused") as caught:
        read_cifar100(path, checksum=None)
    assert "\n" not in str(caught.value)
    assert not trace.exists()


def test_the_malicious_pickles_would_have_worked(tmp_path: Path) -> None:
    for kind in ("os.system", "subprocess", "eval", "object array"):
        trace = tmp_path / kind.replace(" ", "-")
        pickle.loads(malicious(kind, trace), encoding="bytes")
        assert trace.exists(), kind


BOMBS = {
    # A tuple in a tuple, two million deep, as a dict's key: hashing it calls itself as often.
    "a deep key": MARK + b"}N" + b"\x85" * 2_000_000 + b"Ns.",
    "deep keys": MARK + b"}(N" + b"\x85" * 2_000_000 + b"Nu.",
    # Each a pair of the one before: hashing takes 2 ** 60 steps.
    "a key of pairs": MARK + b"}N" + b"q\x01h\x01\x86" * 60 + b"Ns.",
    # A place in the memo that would take gigabytes of empty ones before it.
    "a far memo": MARK + b"}r\xff\xff\xff\x0f.",
    # A shape whose product has millions of digits.
    "a long shape": MARK
    + b"}("
    + python2(b"fine_labels")
    + python2([0] * 40)
    + python2(b"data")
    + b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01("
    + b"J\xff\xff\xff\x7f" * 1_000_000
    + b"tcnumpy\ndtype\n"
    + b"(U\x02u1tR\x89U\x00tbu.",
}


def test_a_small_file_takes_nothing_down(tmp_path: Path) -> None:
    """In a process of their own with 1 GiB and 20 s of processor time: a crash would take the tests with it."""
    contents = {name: python2_pickle(value) for name, value in stand_in().items()}
    paths = [write_archive(tmp_path / f"{i}.tar.gz", contents | {"train": BOMBS[b]}) for i, b in enumerate(BOMBS)]
    code = (
        "import resource, sys; from pathlib import Path; from pipeline.images import cifar\n"
        "from pipeline.config import InputError\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "for name in sys.argv[1:]:\n"
        "    try: cifar.read_cifar100(Path(name), checksum=None)\n"
        "    except InputError as error: print(error, flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths) == len(BOMBS)
    for line, path, bomb in zip(lines, paths, BOMBS):
        assert line.startswith(f"{path}: train: "), bomb


def test_a_pickle_leaves_no_trace_for_the_next(archive: Path) -> None:
    """A state set on the stand-in class itself would reach every later array."""
    with pytest.raises(InputError):
        pickles.unpickled(malicious("state on a class", archive), "x")
    assert len(read_cifar100(archive, checksum=None).train) == 40


def replaced(file: str, key: bytes, value: object) -> dict[str, bytes]:
    contents = stand_in()
    contents[file][key] = value
    return {name: python2_pickle(content) for name, content in contents.items()}


@pytest.mark.parametrize(
    ("contents", "line"),
    [
        (replaced("train", b"data", np.zeros((39, 3072), np.uint8)), "shape .39, 3072., expected .40, 3072."),
        (replaced("train", b"data", np.zeros((40, 3072), np.int16)), "expected data, an array of bytes"),
        (replaced("test", b"data", [1, 2]), "expected data, an array of bytes"),
        (replaced("test", b"fine_labels", [4] * 20), "labels 4 to 4, expected 0 to 3"),
        (replaced("test", b"fine_labels", [-1] * 20), "labels -1 to -1, expected 0 to 3"),
        (replaced("test", b"fine_labels", b"abc"), "expected fine_labels"),
        (replaced("meta", b"fine_label_names", []), "expected fine_label_names"),
        ({"train": MARK + b".", "test": b"", "meta": b"K\x01."}, "meta: refused"),
        ({"train": b"", "test": b""}, "no file meta in it"),
    ],
)
def test_contents_that_are_not_cifar(tmp_path: Path, contents: dict[str, bytes], line: str) -> None:
    with pytest.raises(InputError, match=line):
        read_cifar100(write_archive(tmp_path / "a.tar.gz", contents), checksum=None)


def test_an_array_whose_bytes_are_fewer_than_its_shape_says(tmp_path: Path) -> None:
    contents = {name: python2_pickle(value) for name, value in stand_in().items()}
    whole, short = (python2(np.zeros((rows, 3072), np.uint8)) for rows in (40, 39))
    lie = (
        whole[: whole.index(b"T" + struct.pack("<i", 40 * 3072))]
        + short[short.index(b"T" + struct.pack("<i", 39 * 3072)) :]
    )
    contents["train"] = MARK + b"}(" + python2(b"data") + lie + python2(b"fine_labels") + python2([0] * 40) + b"u."
    with pytest.raises(InputError, match="expected data"):
        read_cifar100(write_archive(tmp_path / "a.tar.gz", contents), checksum=None)


@pytest.mark.parametrize("damage", ["cut", "flipped", "no gzip", "gzip of no tar", "empty"])
def test_damaged_archives(archive: Path, damage: str) -> None:
    content = archive.read_bytes()
    middle = len(content) // 2
    archive.write_bytes(
        {
            "cut": content[:middle],
            "flipped": content[:middle] + bytes([content[middle] ^ 0xFF]) * 64 + content[middle + 64 :],
            "no gzip": b"<html>not found</html>",
            "gzip of no tar": gzip.compress(b"x" * 5000),
            "empty": b"",
        }[damage]
    )
    with pytest.raises(InputError) as caught:
        read_cifar100(archive, checksum=None)
    assert str(archive) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_beyond_the_limit_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "LIMIT", 1 << 16)
    path = write_archive(tmp_path / "a.tar.gz", {"train": bytes(1 << 17)})
    with pytest.raises(InputError, match="train: more than"):
        read_cifar100(path, checksum=None)


def test_where_it_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make data DATASET=cifar100"):
        find_cifar100(tmp_path)
    with pytest.raises(InputError, match="no file"):
        read_cifar100(tmp_path / cifar.ARCHIVE)
    (tmp_path / cifar.FOLDER).mkdir()
    assert find_cifar100(tmp_path) == tmp_path / cifar.FOLDER
    with pytest.raises(InputError, match=r"no file .*train"):
        read_cifar100(tmp_path / cifar.FOLDER)
    write_stand_in(tmp_path / cifar.ARCHIVE)
    assert find_cifar100(tmp_path) == tmp_path / cifar.ARCHIVE


def test_split_is_a_partition_by_seed() -> None:
    labels = np.zeros(50_000, np.int64)
    parts = split(labels, seed=3)
    assert parts.train.shape == (45_000,) and parts.validation.shape == (5_000,)
    assert parts.train.dtype == parts.validation.dtype == np.int64
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(50_000))
    np.testing.assert_array_equal(split(labels, seed=3).validation, parts.validation)
    assert not np.array_equal(split(labels, seed=4).validation, parts.validation)
    assert abs(parts.validation.mean() - 25_000) < 1_000  # drawn from everywhere (standard error 204)
    assert [len(rows) for rows in split(np.zeros(40), seed=0)] == [36, 4]
    assert [len(rows) for rows in split(np.zeros(40), seed=0, validation=7)] == [33, 7]
    with pytest.raises(InputError, match="validation = 40"):
        split(np.zeros(40), seed=0, validation=40)
