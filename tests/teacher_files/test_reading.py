"""Teacher files of any program: what is read of them, and what is refused in one line."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.config import InputError
from pipeline.teacher_files import fitting
from pipeline.teacher_files.choosing import files_in, of_fold
from pipeline.teacher_files.fitting import Clips
from pipeline.teacher_files.reading import read
from pipeline.teacher_files.writing import write

CLASSES = ("a", "b", "c")
NAMES = tuple(f"{fold}-{i}.wav" for fold in (1, 2, 3) for i in range(4))
CLIPS = Clips(NAMES, np.repeat([1, 2, 3], 4), 2, CLASSES, {1: "x", 2: "y", 3: "z"}, (1, 2, 3))
RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.standard_normal((12, 2, 3)).astype(np.float32)
EMBEDDING = RANDOM.standard_normal((12, 2, 5)).astype(np.float32)
MAPS = RANDOM.standard_normal((12, 2, 2, 3, 4)).astype(np.float32)


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    """The arrays of a good file, with changes; None takes one out."""
    good = {
        "clip": np.array(NAMES),
        "view": np.array(["clean", "noisy"]),
        "logits": LOGITS,
        "embedding": EMBEDDING,
        "maps/map1": MAPS,
        "classes": np.array(CLASSES),
        "trained_on": np.array([2, 3]),
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def written(path: Path, **changes: Any) -> Path:
    write(path, arrays(**changes))
    return path


def checked(path: Path, fold: int = 1) -> None:
    fitting.check(read(path), fold, CLIPS)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".hdf5", ".NPZ"])
def test_outputs_lie_on_the_rows_of_the_training_clips_and_nothing_on_the_held_out(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"t{suffix}")
    checked(path)
    laid = fitting.outputs(read(path), 1, CLIPS)
    for name, whole in (("logits", LOGITS), ("embedding", EMBEDDING), ("map1", MAPS)):
        for clip in range(12):
            for view in range(2):
                row = laid[name][2 * clip + view]
                assert np.array_equal(row, whole[clip, view]) if clip >= 4 else np.isnan(row).all()


def test_rows_in_any_order_and_classes_in_any_order_are_the_same_teacher(tmp_path: Path) -> None:
    order = RANDOM.permutation(24)
    clip = np.repeat(NAMES, 2)[order]
    view = np.tile([0, 1], 12)[order]
    rows = LOGITS.reshape(24, 3)[order][:, [2, 0, 1]].astype(np.float64)
    path = written(
        tmp_path / "t.npz",
        clip=clip,
        view=view,
        logits=rows,
        classes=np.array(["c", "a", "b"]),
        embedding=None,
        **{"maps/map1": None},
    )
    checked(path)
    assert np.array_equal(fitting.outputs(read(path), 1, CLIPS)["logits"][8:], LOGITS.reshape(24, 3)[8:])


def test_columns_of_all_classes_lie_as_the_corpus_has_them_for_students_of_some(tmp_path: Path) -> None:
    """So two files with columns in another order each are of the same classes, and can teach together."""
    changed = {"logits": LOGITS[..., [2, 0, 1]], "classes": np.array(["c", "a", "b"])}
    file, some = read(written(tmp_path / "t.npz", **changed)), (1, 0)
    labels = np.tile([0, 1, 0, 1], 3)
    clips = dataclasses.replace(CLIPS, labels=labels, learned=some)
    assert fitting.classes_told(file, CLASSES, clips.learned_classes) == CLASSES
    assert np.array_equal(fitting.outputs(file, 1, clips)["logits"][8:], LOGITS.reshape(24, 3)[8:])


def test_the_clean_view_alone_teaches_both(tmp_path: Path) -> None:
    changes = {"view": None, "logits": LOGITS[:, 0], "embedding": EMBEDDING[:, 0], "maps/map1": MAPS[:, 0]}
    path = written(tmp_path / "t.npz", **changes)
    checked(path)
    assert np.array_equal(fitting.outputs(read(path), 1, CLIPS)["logits"].reshape(12, 2, 3)[4:, 1], LOGITS[4:, 0])


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_an_axis_of_teachers_gives_each_held_out_fold_its_own(tmp_path: Path, suffix: str) -> None:
    each = np.stack([LOGITS + fold for fold in (1, 2, 3)])
    changes = {"embedding": None, "maps/map1": None, "logits": each, "trained_on": np.array([[2, 3], [1, 3], [1, -1]])}
    path = written(tmp_path / f"t{suffix}", **changes, fold=np.array([1, 2, 3]))
    for fold in (1, 2, 3):
        checked(path, fold)
        laid = fitting.outputs(read(path), fold, CLIPS)["logits"].reshape(12, 2, 3)
        others = np.array(CLIPS.folds) != fold
        assert np.array_equal(laid[others], (LOGITS + fold)[others])
    several = written(tmp_path / f"u{suffix}", **changes)  # without names of folds the third fits 2 and 3
    with pytest.raises(InputError, match="2 of its teachers have not seen fold 2; expected an array fold"):
        of_fold([several], 2)


def test_a_file_for_each_held_out_fold_is_chosen_by_what_it_saw(tmp_path: Path) -> None:
    for fold in (1, 2, 3):
        seen = [other for other in (1, 2, 3) if other != fold]
        written(tmp_path / "set" / f"of{fold}.npz", trained_on=np.array(seen))
    paths = files_in(tmp_path / "set")
    assert paths == files_in(tmp_path / "set" / "*.npz")
    assert [of_fold(paths, fold)[0].name for fold in (1, 2, 3)] == ["of1.npz", "of2.npz", "of3.npz"]
    with pytest.raises(InputError, match="fold 3 is held out, and was trained on by its teacher"):
        of_fold(paths[:2], 3)
    untold = written(tmp_path / "untold.npz", trained_on=None)
    with pytest.raises(InputError, match=r"does not say which folds.*--trust-teacher"):
        of_fold([untold], 1)
    assert of_fold([untold], 1, trust=True) == (untold,)
    with pytest.raises(InputError, match="no file fits this pattern"):
        files_in(tmp_path / "none*.npz")


BAD = {
    "a clip is missing": ({"clip": np.array([*NAMES[:11], "other.wav"])}, r"2 of 16 .* missing: 3-3.wav \(clean\)"),
    "a clip is double": ({"clip": np.array([*NAMES[:11], NAMES[10]])}, r"3-2.wav \(clean\).*more than once"),
    "NaN": (
        {"logits": np.where(np.arange(72).reshape(12, 2, 3) == 40, np.nan, LOGITS)},
        r"logits of 2-2.wav \(noisy\)",
    ),
    "log 0": ({"logits": np.full((12, 2, 3), -np.inf)}, "log p of a probability of 0"),
    "too large for float32": (
        {"embedding": EMBEDDING.astype(np.float64) * 1e39},
        "embedding of .* not finite in float32",
    ),
    "whole numbers": ({"logits": LOGITS.astype(int)}, "logits is int64; expected float32"),
    "complex numbers": ({"embedding": EMBEDDING.astype(complex)}, "embedding is complex128"),
    "text for numbers": ({"logits": LOGITS.astype(str)}, "logits is <U"),
    "a clip less": ({"logits": LOGITS[:11]}, r"logits has the shape \(11, 2, 3\); expected \(12, 2, classes\)"),
    "a view more": ({"logits": np.zeros((12, 3, 3), np.float32)}, r"\(12, 3, 3\); expected \(12, 2, classes\)"),
    "no width": ({"embedding": np.zeros((12, 2, 0), np.float32)}, "embedding has the shape"),
    "a map of two axes": ({"maps/map1": MAPS[..., 0]}, "maps/map1 has the shape"),
    "a view twice": ({"view": np.array(["clean", "clean"])}, "view is there twice"),
    "a strange view": ({"view": np.array(["clean", "loud"])}, "view 'loud'; expected clean and noisy"),
    "a view of no number": ({"view": np.array(["clean", "changed0"])}, "view 'changed0'; expected clean and noisy"),
    "no classes": ({"classes": None}, "logits without classes"),
    "other classes": ({"classes": np.array(["a", "b", "x"])}, "has no class c; it has a, b, x"),
    "a class twice": ({"classes": np.array(["a", "b", "b"])}, "class 'b' is there twice"),
    "too few classes": ({"classes": np.array(["a", "b"])}, "logits of 3 columns and 2 classes"),
    "no outputs": ({"logits": None, "embedding": None, "classes": None}, "neither logits nor embedding"),
    "no clips": ({"clip": None}, "no array clip"),
    "clips in two axes": ({"clip": np.array(NAMES).reshape(3, 4)}, r"clip is <U7 \(3, 4\)"),
    "an unknown array": ({"logit": LOGITS}, "unknown array 'logit', did you mean 'logits'"),
    "it saw the held-out fold": ({"trained_on": np.array([1, 2])}, "was trained on fold 1, which is held out"),
    "folds of another count": ({"trained_on": np.array([0, 2])}, "names fold 0, and the corpus has 1 2 3"),
    "folds as fractions": ({"trained_on": np.array([2.0, 3.0])}, "trained_on is float64"),
    "other folds of clips": ({"clip_fold": np.repeat([2, 1, 3], 4)}, "1-0.wav was in fold 2 for its teacher"),
    "other features": ({"data": np.array('{"2": "q"}')}, "of other features of fold 2"),
    "data that is no JSON": ({"data": np.array("[")}, "data is no JSON"),
}


@pytest.mark.parametrize("kind", ["npz", "h5"])
@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_refused_in_one_line_that_names_it(tmp_path: Path, name: str, kind: str) -> None:
    changes, message = BAD[name]
    path = tmp_path / f"t.{kind}"
    if kind == "h5" and any(np.asarray(v).dtype.kind == "c" for v in changes.values()):
        kind = "complex"  # HDF5 has them as compounds
    write(path, arrays(**changes))
    with pytest.raises(InputError) as refused:
        checked(path)
    line = str(refused.value)
    assert "\n" not in line and "t." in line
    if kind == "npz":
        assert re.search(message, line), line


ODDS = "keep p between 1e-7"
NOT_FINITE = {  # name, value, and of what the remedy speaks
    "-inf": ("logits", -np.inf, ["take log(max(p, 1e-12))"], [ODDS, "float16"]),
    "+inf": ("logits", np.inf, ["float16 ends at 65504", ODDS], ["max(p"]),
    "too large": ("logits", 1e39, ["float32 ends at 3.4e38"], ["max(p", ODDS, "float16"]),
    "nan": ("logits", np.nan, [], ["max(p", ODDS, "float16"]),
    "of an embedding": ("embedding", -np.inf, ["float16 ends at 65504"], ["max(p", ODDS]),
}


@pytest.mark.parametrize("kind", NOT_FINITE)
def test_what_is_not_finite_has_the_remedy_of_its_kind(tmp_path: Path, kind: str) -> None:
    name, value, said, unsaid = NOT_FINITE[kind]
    values = arrays()[name].astype(np.float64)
    values[..., 1] = value
    path = written(tmp_path / "file.npz", **{name: values})
    with pytest.raises(InputError, match=f"{name} of .* not finite in float32; expected finite numbers") as caught:
        checked(path)
    assert all(words in str(caught.value) for words in said)
    assert not any(words in str(caught.value) for words in unsaid)


def test_what_the_held_out_fold_holds_is_not_looked_at(tmp_path: Path) -> None:
    """Neither whether it is finite, nor whether it is there."""
    whole = LOGITS.copy()
    whole[:4] = np.nan
    path = written(tmp_path / "t.npz", logits=whole)
    checked(path)
    assert fitting.held_out_logits(read(path), 1, CLIPS) is None
    kept = {"clip": np.array(NAMES[4:]), "logits": LOGITS[4:], "embedding": EMBEDDING[4:], "maps/map1": MAPS[4:]}
    less = written(tmp_path / "less.npz", **kept)
    checked(less)
    assert np.array_equal(
        fitting.outputs(read(less), 1, CLIPS)["logits"][8:], fitting.outputs(read(path), 1, CLIPS)["logits"][8:]
    )


class Bomb:
    """Leaves a mark if it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_damaged_foreign_and_pickled_files_are_one_line_and_nothing_is_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    good_npz, good_h5 = written(tmp_path / "good.npz"), written(tmp_path / "good.h5")
    files: dict[str, bytes] = {
        "empty.npz": b"",
        "empty.h5": b"",
        "text.npz": b"clip,logits\n",
        "text.h5": b"clip,logits\n",
        "pickle.npz": pickle.dumps(Bomb(mark)),
        "half.npz": good_npz.read_bytes()[: good_npz.stat().st_size // 2],
        "half.h5": good_h5.read_bytes()[: good_h5.stat().st_size // 2],
        "other.h5": good_npz.read_bytes(),
        "other.npz": good_h5.read_bytes(),
        "flipped.npz": bytes(b ^ (i == good_npz.stat().st_size // 2) for i, b in enumerate(good_npz.read_bytes())),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    np.savez(tmp_path / "objects.npz", **arrays(logits=np.array([Bomb(mark), None], dtype=object)))
    np.save(tmp_path / "array.npy", LOGITS)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("logits.txt", "1 2 3")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["logits"] = h5py.ExternalLink(str(good_h5), "logits")
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file.create_group("logits")
    (tmp_path / "folder.npz").mkdir()
    names = [
        *files,
        "objects.npz",
        "array.npz",
        "zip.npz",
        "link.h5",
        "group.h5",
        "folder.npz",
        "absent.npz",
        "absent.h5",
    ]
    for name in names:
        with pytest.raises(InputError) as refused:
            read(tmp_path / name)
        assert "\n" not in str(refused.value) and name in str(refused.value) and "expected" in str(refused.value)
    assert not mark.exists()


def test_an_array_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "twice.npz")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("logits.npy", archive.read("logits.npy"))
    with pytest.raises(InputError, match="an array is there twice"):
        read(path)


def test_a_file_that_was_changed_is_read_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "t.npz")
    first = read(path)
    assert read(path) is first
    written(path, logits=LOGITS + 1)
    assert np.array_equal(read(path).outputs["logits"][0], (LOGITS + 1).reshape(24, 3))


def test_the_same_arrays_are_the_same_bytes(tmp_path: Path) -> None:
    for suffix in ("npz", "h5"):
        one, other = written(tmp_path / f"a.{suffix}"), written(tmp_path / f"b.{suffix}")
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_no_flipped_bit_of_a_file_of_ours_is_believed(tmp_path: Path, suffix: str) -> None:
    whole = written(tmp_path / f"t{suffix}")
    content, before = whole.read_bytes(), read(whole)
    assert not before.unchecked
    noticed = 0
    for place in RANDOM.integers(len(content), size=150).tolist():
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path = tmp_path / f"d{place}{suffix}"
        path.write_bytes(damaged)
        try:
            now = read(path)
        except InputError as error:
            assert "\n" not in str(error)
            noticed += 1
            continue
        assert (now.clips, now.views, now.classes, now.trained_on) == (
            before.clips,
            before.views,
            before.classes,
            before.trained_on,
        )
        assert all(np.array_equal(now.outputs[name], values) for name, values in before.outputs.items())
    assert noticed > 30


def test_an_hdf5_file_without_a_checksum_serves_and_says_so(tmp_path: Path) -> None:
    path = written(tmp_path / "t.h5")
    with h5py.File(path, "r+") as file:
        file["logits"][3, 0, 1] += 1
    with pytest.raises(InputError, match=r"its arrays are not what was written .*audio-rkd teacher-file"):
        read(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["sha256"]
    assert read(path).unchecked and not read(written(tmp_path / "t.npz")).unchecked


def test_a_file_that_another_program_has_open_is_not_called_damaged(tmp_path: Path) -> None:
    path = written(tmp_path / "t.h5")
    with path.open("r+b") as notebook:
        fcntl.flock(notebook, fcntl.LOCK_EX)  # as HDF5 does with what is open for writing
        with pytest.raises(InputError, match=r"t\.h5: in use by another program.* close it there") as error:
            read(path)
        assert "damaged" not in str(error.value)
    checked(path)


def test_a_file_on_a_disk_without_locks_is_read_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, real = written(tmp_path / "t.h5"), h5py.File

    def without_locks(*arguments: Any, locking: bool = True) -> h5py.File:
        if locking:
            raise OSError(errno.ENOLCK, "unable to lock file")
        return real(*arguments, locking=False)

    monkeypatch.setattr(h5py, "File", without_locks)
    checked(path)
    assert "without locks" in capsys.readouterr().err
