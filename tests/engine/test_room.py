"""What a pack reads of its teachers: stored where it fits, else the teachers run; said before, recorded, and repeated."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import runs, training
from pipeline.config import InputError, Settings, TrainSettings
from pipeline.engine import balance, missing, packs, room, schedule
from pipeline.engine.missing import Level
from pipeline.engine.records import answer_of
from pipeline.engine.rerun import rerun
from pipeline.engine.source import Source
from pipeline.losses import LossMix
from pipeline.models import saved
from pipeline.runs.planned import PlannedRun
from pipeline.training import Live, Stored, packing
from tests.chains import SETTINGS, SPEC, write_source
from tests.hooks import STUDENTS, TEACHERS, TOLERANCE
from tests.written import written

HOW = {"device": "cpu", "pack": 8, "layout": "loop", "jobs": 1, "checkpoint_minutes": 5}
MAPLESS = TrainSettings(model="mapless", epochs=1, batch=4, lr=0.001)


def planned(fold: int, mix: str, at: Path | None = None, settings: Settings = SETTINGS, count: int = 1) -> PlannedRun:
    """A student of ``count`` teachers of the fold."""
    taught_by = tuple(teacher(fold, settings, seed).folder for seed in range(count))
    return PlannedRun("", "", "student", "tiny", settings, fold, 0, LossMix.parse(mix), taught_by, at=at)


def teacher(fold: int, settings: Settings = SETTINGS, seed: int = 0) -> PlannedRun:
    return PlannedRun("", "", "teacher", "tiny", settings, fold, seed, LossMix.parse("ce"))


def pack_of(source: Source, students: list[PlannedRun], live: bool = False) -> packs.PlannedPack:
    return packs.PlannedPack(tuple(students), source.files, source.data_set, "cpu", "loop", Path("p.pt"), live=live)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """Features of three folds; two teachers of the folds 1 and 2, and one without maps."""
    root = tmp_path_factory.mktemp("room")
    files = {**STUDENTS, **TEACHERS}
    with written(root / "own", files), pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for kept in (packs.loaded, packs.taught):
            kept.cache_clear()
        corpus = write_source(root)
        corpus = dataclasses.replace(corpus, files=tuple(path.relative_to(root) for path in corpus.files))
        mapless = dataclasses.replace(SETTINGS, teacher=MAPLESS)
        first = [teacher(fold, seed=seed) for fold in (1, 2) for seed in (0, 1)]
        missing.train([Level("teacher", (*first, teacher(1, mapless)))], corpus, **HOW)
        yield corpus
    for kept in (packs.loaded, packs.taught):
        kept.cache_clear()


def free(monkeypatch: pytest.MonkeyPatch, count: float) -> None:
    """The machine has so many bytes for what teachers say."""
    monkeypatch.setattr(packing, "free_memory", lambda device: int(count / packing.SHARE) + 1)


def test_stored_where_it_fits_live_where_not(
    source: Source, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    mixes = ("attention,soft", "centred")
    fits = [planned(fold, mix, Path(f"fits/{i}/fold{fold}")) for i, mix in enumerate(mixes) for fold in (1, 2)]
    free(monkeypatch, 1e9)
    missing.train([Level("student", tuple(fits))], source, **HOW)
    told = capfd.readouterr().err
    assert told.count("GB of what is read of 2 teachers, stored") == 2
    assert "run-steps/s measured, 0.0" in told and "GB of memory; " in told
    free(monkeypatch, 1)
    again = [dataclasses.replace(run, at=Path(str(run.folder).replace("fits", "live"))) for run in fits]
    missing.train([Level("student", tuple(again))], source, **HOW)
    told = capfd.readouterr().err
    assert told.count("the teachers run in every step: ") == 2 and "is more than the 0.00 GB there are for it" in told
    for one, other in zip(fits, again):
        assert not runs.read(one.folder).pack.live and runs.read(other.folder).pack.live
        assert runs.read_config(other.folder)["pack"]["teachers"] == "live"
        before, after = (saved.read_payload(run.folder) for run in (one, other))
        for name, value in before["state"].items():
            torch.testing.assert_close(after["state"][name], value, **TOLERANCE)
    repeated = rerun(again[0].folder, Path("again"), say=lambda line: None)
    assert repeated.same and runs.read(repeated.folder).pack.live


def test_an_adapter_is_kept_apart_in_the_models_file(source: Source) -> None:
    run = planned(1, "boundary:0.01,overhaul,soft", Path("adapted/fold1"))
    missing.train([Level("student", (run,))], source, **HOW)
    payload = saved.read_payload(run.folder)
    assert payload["adapters"] and all(name.startswith("overhaul ") for name in payload["adapters"])
    told = runs.read(run.folder).result.terms
    assert told == runs.read_result(run.folder)["terms"] and set(told) == {"boundary"}
    assert set(told["boundary"]) == {"agreement", "always off", "always on"}
    assert all(0 <= share <= 1 for share in told["boundary"].values())
    network = saved.network_of(payload)
    assert payload["state"].keys() == {"mean", "std", *network.body.state_dict()}
    assert runs.read_result(run.folder)["parameters"] == sum(p.numel() for p in network.parameters())
    without = {key: value for key, value in payload.items() if key != "adapters"}
    assert saved.weights_digest(without) == saved.weights_digest(payload)
    plain = planned(1, "soft", Path("plain/fold1"))
    missing.train([Level("student", (plain,))], source, **HOW)
    assert "adapters" not in saved.read_payload(plain.folder)
    assert "terms" not in runs.read_result(plain.folder) and runs.read(plain.folder).result.terms == {}


def test_room(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    students = [planned(fold, "attention,soft") for fold in (1, 2)]
    pack = pack_of(source, students)
    free(monkeypatch, 1e12)
    large = room.room(pack)
    assert large is not None and not large.live and large.teachers is None
    teaching = packs.teaching_of(pack)
    assert isinstance(teaching, Stored) and "embedding" not in teaching.outputs
    assert large.each * 2 == sum(values.nbytes for values in teaching.outputs.values())
    assert f"{2 * large.each / 1e9:.2f} GB of what is read of 2 teachers, stored" == large.told(2)
    for count, live in ((2.01, False), (1.99, True), (0, True)):
        free(monkeypatch, count * large.each)
        choice = room.room(pack)
        assert choice is not None and (choice.live, choice.teachers) == (live, None), count
    monkeypatch.setattr(room, "FEW", {"cpu": 1, "cuda": 1})
    free(monkeypatch, 1.5 * large.each)
    choice = room.room(pack)
    assert choice is not None and (choice.live, choice.teachers) == (False, 1)
    asked = room.room(pack, size=2)
    assert asked is not None and asked.live  # the size that is asked for is kept
    values = packs.load(pack)[1]
    free(monkeypatch, 2 * (2.01 * large.each + values.nbytes))  # two processes, each with the samples
    choice = room.room(pack, processes=2)
    assert choice is not None and (choice.live, choice.teachers) == (False, None)
    assert room.room(pack_of(source, [planned(1, "angle,soft")])) is None
    assert room.room(pack_of(source, [teacher(1)])) is None


def test_a_line_says_where_a_term_was_published_with_clipped_gradients() -> None:
    clipped = dataclasses.replace(SETTINGS, student=dataclasses.replace(SETTINGS.student, clip_norm=1.0))
    (line,) = missing.unclipped(planned(1, "dirichlet,soft", count=2))
    assert line.startswith("note: dirichlet was published with clip_norm = 10, and student.clip_norm is 0")
    assert line.endswith("--set student.clip_norm=10 is the remedy") and "\n" not in line
    assert not missing.unclipped(planned(1, "dirichlet,soft", settings=clipped, count=2))
    assert not missing.unclipped(planned(1, "soft,angle")) and not missing.unclipped(teacher(1))


def test_augmented_inputs_have_live_teachers(source: Source) -> None:
    settings = dataclasses.replace(SETTINGS, student=dataclasses.replace(SETTINGS.student, augment="crop-flip"))
    choice = room.room(pack_of(source, [planned(1, "soft", settings=settings)]))
    assert choice is not None and choice.live
    assert choice.told(1) == "the teachers run in every step, on the inputs as they are augmented"


def test_teachers_hear_mixed_inputs_where_a_term_learns_more_of_them_than_targets(source: Source) -> None:
    """By the run's own mix, never by what lies beside it or by memory: the two ways are not the same numbers."""
    settings = dataclasses.replace(SETTINGS, student=dataclasses.replace(SETTINGS.student, mixup=0.4))
    hears, mixes, alone = (planned(1, text, settings=settings) for text in ("angle,soft", "hinton,ce", "soft"))
    choice = room.room(pack_of(source, [hears]))
    assert choice is not None and choice.live
    assert choice.told(1) == "the teachers run in every step, on the inputs as they are mixed"
    assert room.room(pack_of(source, [mixes, alone])) is None
    assert schedule.groups([hears, mixes, alone]) == [[hears], [mixes, alone]]
    assert len(schedule.groups([planned(1, "angle,soft"), planned(1, "hinton,ce")])) == 1


def test_packs_are_smaller_where_fewer_teachers_fit(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    students = [planned(fold, "attention,soft", Path(f"small/fold{fold}")) for fold in (1, 2)]
    each = room.room(pack_of(source, students)).each  # type: ignore[union-attr]
    monkeypatch.setattr(room, "FEW", {"cpu": 1, "cuda": 1})
    free(monkeypatch, 1.5 * each)
    lines: list[str] = []
    make = lambda **fields: packs.PlannedPack(files=source.files, data_set=source.data_set, device="cpu", **fields)
    whole = schedule.packed(students, make, Path("c"), None, "loop", 1, lines.append)
    assert [len(pack.runs) for pack in whole] == [1, 1] and not any(pack.live for pack in whole)
    assert "of what is read of 1 teacher, stored" in lines[0]


def test_the_runs_of_a_pack_have_what_its_arrays_leave(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays and runs together take no more than the share of the free memory, and so do packs of several processes."""
    students = [planned(fold, mix, Path(f"shared/{fold}")) for fold in (1, 2) for mix in ("attention,soft", "soft")]
    each = room.room(pack_of(source, students[::2])).each  # type: ignore[union-attr]
    budgets: list[packing.Budget] = []

    def choose(*arguments: object, memory: packing.Budget, **options: object) -> packing.Choice:
        budgets.append(memory)
        return packing.Choice("cpu", 2, "loop", 0.0, 1)

    monkeypatch.setattr(packing, "choose", choose)
    free(monkeypatch, 100 * each)
    make = lambda **fields: packs.PlannedPack(files=source.files, data_set=source.data_set, device="cpu", **fields)
    for processes in (1, 2):
        schedule.packed(students, make, Path("c"), None, "loop", processes, lambda line: None)
    samples = packs.load(pack_of(source, students))[1]
    whole = packing.budget(samples).free
    assert budgets == [
        packing.Budget(whole, each, 2),
        packing.Budget(whole),
        packing.Budget(whole // 2 - samples.nbytes, each, 2),
        packing.Budget(whole // 2 - samples.nbytes),
    ]


def test_runs_are_packed_by_what_their_terms_need(source: Source) -> None:
    """Who reads no map lies in no pack that keeps one, of students or of teachers."""
    texts = (
        "soft",
        "angle",
        "hinton,area",
        "attention",
        "attention,angle",
        "overhaul",
        "signed",
        "membered",
        "drawing",
    )
    groups = schedule.groups([planned(1, text, count=1 + (text == "membered")) for text in texts])
    assert [[str(run.mix).split(",")[0].split(":")[0] for run in group] for group in groups] == [
        ["soft", "angle", "area", "drawing"],
        ["attention", "angle"],
        ["overhaul"],
        ["signed"],
        ["membered"],
    ]


def test_teachers_of_unlike_widths_lie_in_one_pack_only_where_zeros_behind_them_change_nothing() -> None:
    """An adapter to the wider embedding would be another one; live teachers have no place for zeros."""
    wider = dataclasses.replace(SETTINGS, teacher=dataclasses.replace(SETTINGS.teacher, model="resnet18"))
    augmented = dataclasses.replace(SETTINGS.student, augment="crop-flip")
    for text, network, groups in (
        ("angle", SETTINGS.student, 1),
        ("hint@layer=hidden", SETTINGS.student, 2),
        ("margin@centres=teacher", SETTINGS.student, 2),
        ("angle", augmented, 2),
        ("soft", augmented, 1),
    ):
        students = [
            planned(1, text, settings=dataclasses.replace(settings, student=network)) for settings in (SETTINGS, wider)
        ]
        assert students[0].teachers != students[1].teachers
        assert len(schedule.groups(students)) == groups, (text, network.augment)


def test_a_stopped_pack_goes_on_with_its_kind_of_teachers(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    students = [planned(1, "attention,soft", Path("stopped/fold1"))]
    pack = dataclasses.replace(pack_of(source, students, live=True), checkpoint=Path("left/pack-x.pt"))

    def stop(*arguments: object, teaching: object, **options: object) -> None:
        assert isinstance(teaching, Live)
        pack.checkpoint.write_bytes(b"")
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", stop)
    with pytest.raises(KeyboardInterrupt):
        packs.train(pack, print)
    (stopped,) = schedule.left_over(Path("left"), students)
    assert stopped["live"] is True and stopped["layout"] == "loop"
    note = json.loads(pack.note.read_text())
    pack.note.write_text(json.dumps({key: value for key, value in note.items() if key != "live"}))
    assert schedule.left_over(Path("left"), students)[0]["live"] is False  # as packs were before


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    ("mix", "count", "message"),
    [
        (
            "membered",
            1,
            r"membered asks for the members of an ensemble, and its teacher is a single run \(.*fold1-seed0\)",
        ),
        ("attention", 2, r"attention reads what an ensemble of 2 teachers does not have; expected a single teacher"),
        (
            "attention",
            0,
            r"the teacher's 'maps': mapless has embedding, hidden, logits; expected a teacher that has it",
        ),
    ],
)
def test_what_teachers_do_not_have_is_one_line_before_training(
    source: Source, mix: str, count: int, message: str, live: bool
) -> None:
    settings = SETTINGS if count else dataclasses.replace(SETTINGS, teacher=MAPLESS)
    with pytest.raises(InputError, match=message) as caught:
        packs.teaching_of(pack_of(source, [planned(1, mix, settings=settings, count=count or 1)], live))
    assert "\n" not in str(caught.value)


def test_members_of_an_ensemble_are_stored(source: Source) -> None:
    teaching = packs.teaching_of(pack_of(source, [planned(1, "membered,soft", count=2)]))
    assert isinstance(teaching, Stored) and teaching.outputs["members"].shape[2:] == (2, 3)
    each = [
        packs.taught(teacher(1, seed=seed).folder, source.files, "cpu", "float32", "last", ("embedding", "logits"))
        for seed in (0, 1)
    ]
    train = packs.rows(packs.load(pack_of(source, [teacher(1)]))[0], 1)[0]
    for member, outputs in enumerate(each):
        assert torch.equal(teaching.outputs["members"][0, train, member], outputs.logits[train])
    assert SPEC.bins == 12


def test_dropout_before_the_output_layer_goes_with_maps_that_are_stored(source: Source) -> None:
    network = dataclasses.replace(SETTINGS.student, teacher_dropout=0.3, teacher_dropout_at="output")
    settings = dataclasses.replace(SETTINGS, student=network)
    pack = pack_of(source, [planned(1, "hint,hinton", settings=settings)])
    assert packs.needs_of_pack(pack).large
    stored = packs.teaching_of(pack)
    assert isinstance(stored, Stored) and stored.layers is not None
    rows = torch.from_numpy(packs.rows(packs.load(pack)[0], 1)[0])
    hidden = stored.layers.hidden[0, rows]
    logits = torch.nn.functional.linear(hidden, stored.layers.weight[0], stored.layers.bias[0])
    assert torch.allclose(logits, stored.outputs.logits[0, rows], atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"teacher_dropout": 0.3},
        {"teacher_dropout": 0.3, "teacher_dropout_at": "output"},
        {"input_noise": 0.3},
        {"label_noise": 0.9},
        {"unlabelled": 0.5},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_a_weight_is_measured_with_noise_and_hidden_labels(
    source: Source, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balance, "BATCHES", 3)
    network = dataclasses.replace(SETTINGS.student, **settings)
    run, plain = (
        planned(1, "ce,hinton", settings=dataclasses.replace(SETTINGS, student=network)),
        planned(1, "ce,hinton"),
    )
    text = "soft:1@rows=unlabelled,ce:0" if "unlabelled" in settings else "hinton,soft:0"
    (term,) = LossMix.parse(text).terms
    noisy = balance.norms(run, LossMix.parse("ce"), term, source)
    assert min(noisy) > 0
    if "unlabelled" not in settings:
        assert noisy != balance.norms(plain, LossMix.parse("ce"), term, source)


def test_a_term_of_two_views_pulls_with_both(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the second view is as the first, twice as strongly; and the time of its step is measured too."""
    monkeypatch.setattr(balance, "BATCHES", 2)
    monkeypatch.setattr(balance, "STEPS", 1)
    changed = dataclasses.replace(SETTINGS.student, augment="shift")
    run = planned(1, "soft,angle@views=2", settings=dataclasses.replace(SETTINGS, student=changed))
    base, (one, both) = LossMix.parse("soft"), LossMix.parse("angle,angle@views=2,soft:0").terms[:2]
    moved = balance.norms(run, base, both, source)[1]
    monkeypatch.setattr(balance, "augmentation", lambda *_: lambda x, draws, means: x)
    pulls = [balance.norms(run, base, term, source)[1] for term in (one, both)]
    assert pulls[1] == pytest.approx(2 * pulls[0], rel=1e-4) and moved != pytest.approx(pulls[1], rel=1e-4)
    assert all(seconds > 0 for seconds in balance.step_times(run, [base, run.mix], source))


def test_a_student_is_compared_with_the_very_mean_that_teaches_it(source: Source) -> None:
    folders = [teacher(1, seed=seed).folder for seed in (0, 1)]
    each = [runs.read_predictions(folder).logits.astype(float) for folder in folders]
    mean = answer_of(folders, 1, source.clips, "logits")
    assert mean is not None and abs(mean - sum(each) / 2).max() < 1e-6
    probabilities = answer_of(folders, 1, source.clips)
    expected = sum(torch.from_numpy(one).softmax(-1) for one in each) / 2
    assert probabilities is not None and torch.allclose(
        torch.from_numpy(probabilities).double().exp(), expected, atol=1e-6
    )


def test_constants_of_labels_that_each_seed_has_its_own_of_are_in_packs_of_their_own() -> None:
    for hides, packed in ((0.0, 1), (0.5, 2)):
        settings = dataclasses.replace(SETTINGS, student=dataclasses.replace(SETTINGS.student, unlabelled=hides))
        first = planned(1, "overhaul,soft", settings=settings)
        assert len(schedule.groups([first, dataclasses.replace(first, seed=1)])) == packed
