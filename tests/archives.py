"""Tiny archives in the form of the published ones, for the tests: CIFAR-100's pickles above all."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import numpy as np

MARK = b"\x80\x02"


def python2(value: object) -> bytes:
    """The opcodes that Python 2's cPickle writes (protocol 2), with str as bytes: the form of the archive."""
    if isinstance(value, dict):
        return b"}(" + b"".join(python2(k) + python2(v) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(python2, value)) + b"e"
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    assert isinstance(value, np.ndarray) and value.dtype.kind in "ui"
    code = value.dtype.str[1:].encode()
    order = b"|" if value.dtype.itemsize == 1 else b"<"
    kind = (
        b"cnumpy\ndtype\n("
        + python2(code)
        + b"K\x00K\x01tR(K\x03"
        + python2(order)
        + b"NNN"
        + b"J\xff\xff\xff\xff" * 2
        + b"K\x00tb"
    )
    call = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    shape = b"(" + b"".join(map(python2, value.shape)) + b"t"
    column_major = b"\x88" if value.flags.fnc else b"\x89"
    content = value.tobytes(order="F" if value.flags.fnc else "C")
    return call + b"(K\x01" + shape + kind + column_major + python2(content) + b"tb"


def python2_pickle(value: object) -> bytes:
    return MARK + python2(value) + b"."


def write_archive(path: Path, contents: dict[str, bytes]) -> Path:
    """A .tar.gz of the published layout with these files."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"cifar-100-python/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def stand_in(train: int = 40, test: int = 20, classes: int = 4, seed: int = 0) -> dict[str, dict[bytes, object]]:
    """The dicts of a tiny archive; every class has as many images."""
    rng = np.random.default_rng(seed)

    def images(rows: int) -> dict[bytes, object]:
        labels = [row % classes for row in range(rows)]
        return {
            b"filenames": [b"%d.png" % row for row in range(rows)],
            b"batch_label": b"training batch 1 of 1",
            b"fine_labels": labels,
            b"coarse_labels": [label // 2 for label in labels],
            b"data": rng.integers(0, 256, (rows, 3072), dtype=np.uint8),
        }

    names: dict[bytes, object] = {
        b"fine_label_names": [b"class%d" % c for c in range(classes)],
        b"coarse_label_names": [b"a", b"b"],
    }
    return {"train": images(train), "test": images(test), "meta": names}


def write_stand_in(path: Path, **sizes: int) -> Path:
    """A tiny archive of the published form at ``path``; read it with ``checksum=None``."""
    return write_archive(path, {name: python2_pickle(value) for name, value in stand_in(**sizes).items()})
