"""The Python API: the numbers of the commands, bit for bit, and one line for whatever a caller gets wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import audio_rkd as rkd
from pipeline import cache, runs
from pipeline.deploy import sounds
from tests.tiny import QUICK, audio_rkd, write_corpus

CORPUS = ("--dataset", "urbansound8k", "--data", "tiny")
CHANGES = tuple(word for word in QUICK if word != "--set")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus and its features."""
    where = tmp_path_factory.mktemp("api")
    write_corpus(where / "tiny", clips=4)
    with contextlib.chdir(where):
        rkd.compute_features(rkd.corpus("urbansound8k", "tiny"), settings())
    return where


@pytest.fixture
def there(place: Path) -> Iterator[Path]:
    with contextlib.chdir(place):
        yield place


def settings() -> Any:
    return rkd.settings("default", *CHANGES)


def fold(number: int = 1) -> Any:
    return rkd.fold(rkd.corpus("urbansound8k", "tiny"), settings(), number)


@pytest.fixture(scope="module")
def teacher(place: Path) -> Any:
    with contextlib.chdir(place):
        return rkd.fit(fold(), "ce", settings().teacher)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mix", "changes", "options"),
    [
        ("angle@layer=hidden,distance", ("student.teacher_epoch=best",), ()),
        ("hinton", ("student.augment=gain",), ()),
        ("hinton", ("student.augment=gain", "student.teacher_hears=views"), ()),
        ("hinton", ("student.teacher_dropout=0.2", "student.teacher_dropout_at=output"), ()),
        ("hinton", ("unlabelled=0.4", "student.sampler=unlabelled:1"), ()),
        ("factor,ce", ("student.label_noise_fixed=0.2",), ()),
        ("angle,soft", (), ("--teacher-seeds", "0,1")),
    ],
)
def test_whatever_teaches_and_changes_the_numbers_are_those_of_the_commands(
    there: Path, mix: str, changes: tuple[str, ...], options: tuple[str, ...]
) -> None:
    sets = [word for change in changes for word in ("--set", change)]
    seeds = "0,1" if options else "0"
    done = audio_rkd(there, "teacher", "--folds", "2", "--seeds", seeds, *CORPUS, *QUICK, *sets)
    assert done.returncode == 0, done.stderr
    done = audio_rkd(there, "distill", "--folds", "2", "--losses", mix, *CORPUS, *QUICK, *sets, *options)
    assert done.returncode == 0, done.stderr
    path = max(Path("runs/tiny").glob("**/fold2-seed0/result.json"), key=lambda file: file.stat().st_mtime_ns).parent
    how = rkd.settings("default", *CHANGES, *changes)
    taught_by = rkd.fold(rkd.corpus("urbansound8k", "tiny"), how, 2)
    teachers = [rkd.fit(taught_by, "ce", how.teacher, seed=seed) for seed in ((0, 1) if options else (0,))]
    student = rkd.fit(taught_by, mix, how.student, teacher=teachers)
    assert student.weights == runs.read(path).result.weights
    read = list(runs.read(path).teachers)
    assert rkd.fit(taught_by, mix, how.student, teacher=read).weights == student.weights


def test_a_sound_s_features_are_those_that_stage_one_keeps(there: Path) -> None:
    spec = settings().features
    data = fold().data
    clip = next(clip for clip in rkd.corpus("urbansound8k", "tiny").clips if clip.name == data.clips[5])
    values = rkd.features(str(clip.path), spec)
    assert values.dtype == np.float32 and values.shape == spec.shape == fold().shape
    assert np.array_equal(values, data.features[5, 0])
    samples, _ = soundfile.read(clip.path, dtype="float32")
    assert rkd.features(np.stack([samples, samples]), spec).shape == (2, 5, spec.bins, 1 + len(samples) // 512)
    assert rkd.features(clip.path).shape == (5, 20, 173)


def test_a_fold_s_arrays_are_the_other_folds_in_all_views_and_its_own_clips_clean(there: Path) -> None:
    one = fold(2)
    paths = [cache.fold_path(Path("cache"), "tiny", settings().features, part) for part in (1, 2, 3)]
    first, own, last = (cache.read_fold(path) for path in paths)
    train = np.concatenate([first.features, last.features])
    assert np.array_equal(one.train, train.reshape(-1, *train.shape[2:])) and np.array_equal(
        one.test, own.features[:, 0]
    )
    names = [*first.header.clips, *last.header.clips]
    assert one.train_clips == tuple(name for name in names for _ in range(2)) and one.test_clips == own.header.clips
    labels = np.repeat([*first.header.labels, *last.header.labels], 2)
    assert np.array_equal(one.train_labels, labels) and one.test_labels.tolist() == list(own.header.labels)
    assert one.classes == own.header.classes and one.number == 2


def test_arrays_of_any_program_and_a_teacher_of_arrays_train_the_same(there: Path, teacher: Any) -> None:
    one = fold()
    copied = rkd.fold_of(one.train, one.train_labels, one.test, one.test_labels, classes=one.classes)
    again = rkd.fit(copied, "ce", settings().teacher)
    assert again.weights == teacher.weights and np.array_equal(again.logits, teacher.logits)
    with torch.no_grad():
        parts = [teacher.network(part) for part in torch.from_numpy(one.train).split(64)]
    answers = {name: torch.cat([part[name] for part in parts]).numpy() for name in ("logits", "embedding")}
    by_model = rkd.fit(one, "area,hinton", settings().student, teacher=teacher)
    assert rkd.fit(copied, "area,hinton", settings().student, teacher=answers).weights == by_model.weights
    with pytest.raises(rkd.InputError, match="trained on arrays"):
        rkd.predict(again, np.zeros(100, np.float32))


def test_what_is_said_of_a_sound_is_what_the_command_says_of_the_same_weights(there: Path, teacher: Any) -> None:
    sound = min(Path("tiny/audio/fold1").glob("*.wav"))
    saved = rkd.save(teacher, there / "kept" / "teacher.pt")
    read = rkd.load(saved)
    assert read.weights == teacher.weights and (read.mix, read.fold, read.classes) == ("ce:1", 1, fold().classes)
    answer = rkd.predict(teacher, sound)
    assert answer.logits.shape == (1, 1, 10) and answer.times[0][0] == 0
    done = audio_rkd(there, "predict", str(saved), str(sound), "--json", "--top", "10")
    (told,) = [json.loads(line) for line in done.stdout.splitlines()]
    best = teacher.classes[int(answer.probabilities.mean(0).argmax())]
    assert best in json.dumps(told).partition("}")[0]
    assert np.array_equal(rkd.predict(str(saved), sound).logits, answer.logits)
    assert np.allclose(rkd.predict([teacher, read], sound).probabilities, answer.probabilities)
    samples = np.concatenate(list(sounds.sound_blocks(sound, 22050)))
    assert np.array_equal(rkd.predict(teacher, samples).logits, answer.logits)


def test_one_term_on_one_batch_and_a_network_of_one_s_own_loop() -> None:
    torch.manual_seed(0)
    network = rkd.network("cnn2", (5, 20, 30), 3, seed=1, fold=2)
    x = torch.randn(4, 5, 20, 30)
    told, other = network(x), rkd.network("resnet18", (5, 20, 30), 3)(x)
    value = rkd.loss("distance", told, other, torch.zeros(4, dtype=torch.int64))
    value.backward()
    gaps = [torch.cdist(one.embedding, one.embedding) for one in (told, other)]
    scaled = [gap / (gap.sum() / 12) for gap in gaps]
    plain = torch.nn.functional.huber_loss(*scaled, reduction="none").sum() / 12
    assert value.item() == pytest.approx(plain.item(), rel=1e-4)
    assert (
        rkd.mix("angle,area") == rkd.mix("area:20,angle:40,soft:1")
        and "angle" in rkd.losses()
        and "cnn2" in rkd.networks()
    )


WRONG: dict[str, Any] = {
    r"no preset 'nothing'": lambda: rkd.settings("nothing"),
    r"unknown key 'lrr'; did you mean lr": lambda: rkd.settings("demo", "student.lrr=1"),
    r"no loss|unknown loss 'angel'": lambda: rkd.mix("angel"),
    r"unknown data set": lambda: rkd.corpus("nothing", "tiny"),
    r"nowhere: no such folder": lambda: rkd.corpus("urbansound8k", "nowhere"),
    r"gone.wav: missing": lambda: rkd.features("gone.wav"),
    r"floating-point \(n,\)": lambda: rkd.features(np.zeros((1, 2, 3))),
    r"fold 9 is not in": lambda: fold(9),
    r"no features of fold 1": lambda: rkd.fold(rkd.corpus("urbansound8k", "tiny"), rkd.settings("demo"), 1),
    r"no model 'cnn3'": lambda: rkd.network("cnn3", (5, 20, 30), 3),
    r"settings = .*expected settings": lambda: rkd.fit(fold(), "ce", settings()),
    r"mix = 3": lambda: rkd.fit(fold(), 3, settings().student),  # type: ignore[arg-type]
    r"fold = 1: expected fold": lambda: rkd.fit(1, "ce", settings().student),  # type: ignore[arg-type]
    r"seed = -1": lambda: rkd.fit(fold(), "ce", settings().student, seed=-1),
    r"device = 'tpu'": lambda: rkd.fit(fold(), "ce", settings().student, device="tpu"),
    r"learns from a teacher, and none": lambda: rkd.fit(fold(), "soft", settings().student),
    r"batch = 4096": lambda: rkd.fit(fold(), "ce", dataclasses.replace(settings().student, batch=4096)),
    r"no run|no such file": lambda: rkd.fit(fold(), "soft", settings().student, teacher="runs/none"),
    r"expected a Model": lambda: rkd.predict(3, "a.wav"),  # type: ignore[arg-type]
    r"no model; expected one": lambda: rkd.predict([], "a.wav"),
    r"teacher\['logits'\]: an array \(3, 10\)": lambda: rkd.fit(
        fold(), "soft", settings().student, teacher={"logits": np.zeros((3, 10))}
    ),
    r"not finite": lambda: rkd.fit(fold(), "soft", settings().student, teacher={"logits": np.full((16, 10), np.nan)}),
    r"train: an array": lambda: rkd.fold_of(
        np.zeros((3, 4)), np.zeros(3, int), np.zeros((1, 1, 2, 3)), np.zeros(1, int)
    ),
    r"train_labels": lambda: rkd.fold_of(
        np.zeros((3, 1, 8, 9)), np.zeros(2, int), np.zeros((1, 1, 8, 9)), np.zeros(1, int)
    ),
    r"learns from a teacher, and none is given": lambda: rkd.fit(fold(), "soft", settings().student, teacher={}),
    r"train: no array": lambda: rkd.fold_of([[1], [1, 2]], np.zeros(2, int), np.zeros((1, 1, 8, 9)), np.zeros(1, int)),  # type: ignore[arg-type]
    r"fold 1.5: expected a whole number": lambda: rkd.fold_of(
        *(np.zeros((1, 1, 8, 9)), np.zeros(1, int)) * 2,
        number=1.5,  # type: ignore[arg-type, misc]
    ),
    r"fold = 3: expected fold": lambda: rkd.evaluate(rkd.fit(fold(), "ce", settings().student), 3),  # type: ignore[arg-type]
    r"3: expected a Model": lambda: rkd.save(3, "a.pt"),  # type: ignore[arg-type]
    r"a label 3 and the classes a": lambda: rkd.fold_of(
        np.zeros((3, 1, 8, 9)), np.full(3, 3), np.zeros((1, 1, 8, 9)), np.zeros(1, int), classes=["a"]
    ),
}


@pytest.mark.parametrize("words", WRONG)
def test_what_a_caller_gets_wrong_is_one_line(there: Path, words: str) -> None:
    with pytest.raises(rkd.InputError, match=words) as caught:
        WRONG[words]()
    assert "\n" not in str(caught.value)


def test_who_has_seen_the_held_out_clips_neither_teaches_nor_is_evaluated(there: Path, teacher: Any) -> None:
    for call in (
        lambda: rkd.fit(fold(2), "soft", settings().student, teacher=teacher),
        lambda: rkd.evaluate(teacher, fold(2)),
    ):
        with pytest.raises(rkd.InputError, match="trained on") as caught:
            call()
        assert "fold" in str(caught.value) and "\n" not in str(caught.value)
    changed = fold()
    data = dataclasses.replace(changed.data, digests={**changed.data.digests, 2: "other"})
    for call in (
        lambda: rkd.fit(dataclasses.replace(changed, data=data), "soft", settings().student, teacher=teacher),
        lambda: rkd.evaluate(teacher, dataclasses.replace(changed, data=data)),
    ):
        with pytest.raises(rkd.InputError, match="other clips"):
            call()


def test_a_corpus_with_a_fold_0_of_its_own_holds_it_out_as_any_other(there: Path, teacher: Any) -> None:
    """A model of fold 0 is of all folds only where there is no such fold."""
    of_0 = dataclasses.replace(teacher, payload={**teacher.payload, "fold": 0})
    whole = fold(2)
    for digests, words in ((whole.data.digests, "all folds"), ({**whole.data.digests, 0: "x"}, "all but fold 0")):
        one = dataclasses.replace(whole, data=dataclasses.replace(whole.data, digests=digests))
        with pytest.raises(rkd.InputError, match=f"was trained on {words}, so on the clips of fold 2"):
            rkd.evaluate(of_0, one)


def test_windows_of_a_long_file_are_evaluated_as_one(there: Path) -> None:
    from pipeline.corpus.windows import name_of

    random = np.random.default_rng(0)
    values, labels = random.normal(size=(16, 1, 12, 12)).astype(np.float32), np.arange(16) // 8
    own = rkd.fold_of(values, labels, values[4:12], labels[4:12])
    names = tuple(name_of(f"{'ab'[place // 4]}.wav", place % 4) for place in range(8))
    own = dataclasses.replace(own, data=dataclasses.replace(own.data, clips=(*own.data.clips[:16], *names)))
    model = rkd.fit(own, "ce", dataclasses.replace(settings().student, epochs=1, batch=4))
    figures = rkd.evaluate(model, own, teacher=model)
    assert (figures.test_clips, figures.test_windows, figures.agreement) == (2, 8, 1.0)
    assert model.logits is not None
    shares = torch.from_numpy(model.logits).double().softmax(1).reshape(2, 4, 2).mean(1)
    assert figures.accuracy == (shares.argmax(1).numpy() == [0, 1]).mean()
    assert figures.window_accuracy == (model.logits.argmax(1) == own.test_labels).mean()


def test_a_loss_that_is_not_finite_is_one_line_too(there: Path) -> None:
    with pytest.raises(rkd.InputError, match="not finite"):
        rkd.fit(fold(), "ce", dataclasses.replace(settings().student, lr=1000.0))


def test_all_names_are_there_and_described() -> None:
    assert all(getattr(rkd, name).__doc__ for name in rkd.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rkd.nothing  # noqa: B018
