"""CIFAR-100 as the packs see it, and Table 4 on a tiny archive of the published form."""

from __future__ import annotations

import csv
import random
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result

import cli
from bench import killed
from pipeline import (
    config,
    losses,
    models,
    runs,
)
from pipeline.commands.ban import ban
from pipeline.commands.table4 import table4
from pipeline.config import InputError, TrainSettings
from pipeline.engine import packs
from pipeline.images import cifar
from pipeline.images import samples as images
from pipeline.images.archive import Archive
from pipeline.models.saved import network_of, read_payload
from pipeline.report.paper import TABLE4
from pipeline.training.augmentation import crop_and_flip
from pipeline.training.optimizer import learning_rate
from tests.archives import write_stand_in

SMALL = [
    "--no-checksum",
    "--set",
    "teacher.model=cnn2",
    "--set",
    "teacher.epochs=2",
    "--set",
    "teacher.batch=8",
    "--set",
    "teacher.lr=0.01",
    "--pack",
    "8",
    "--layout",
    "loop",
    "--jobs",
    "1",
    "--device",
    "cpu",
]


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for kept in (packs.loaded, packs.taught, images.read):
        kept.cache_clear()  # their keys are relative paths
    return write_stand_in(tmp_path / "stand-in.tar.gz")


def test_the_images_of_an_archive(archive: Path) -> None:
    """Every image once, as RGB / 255; the test images are the held-out fold; what is kept aside is nowhere."""
    whole = cifar.read_cifar100(archive, checksum=None)
    data = images.read(Archive(archive, None))
    train, test = packs.rows(data, images.TEST)
    kept = cifar.split(whole.train_labels, 0).train
    assert len(train) == 36 == len(kept) and len(test) == 20 and not set(train) & set(test)
    values, labels = packs.samples(data, torch.device("cpu"))
    assert values.shape == (56, 3, 32, 32)
    for rows, pixels, classes in (
        (train, whole.train[kept], whole.train_labels[kept]),
        (test, whole.test, whole.test_labels),
    ):
        np.testing.assert_allclose(values[rows].numpy(), pixels / 255, rtol=1e-6)
        np.testing.assert_array_equal(labels[rows].numpy(), classes)
    assert [data.clips[row] for row in train] == [f"train/{row}" for row in kept]
    assert data.corpus == "cifar100-stand-in" and data.synthetic


def test_another_split_is_another_corpus(archive: Path) -> None:
    one, two = images.read(Archive(archive, None)), images.read(Archive(archive, None, 1, 6))
    assert two.corpus == "cifar100-stand-in-split1-without6" and len(two.labels) == 34 + 20
    assert one.digests[0] == two.digests[0] and one.digests[1] != two.digests[1]
    assert images.name(Archive(archive, cifar.MD5)) == "cifar100"


def test_crop_and_flip_pads_with_the_training_mean(archive: Path) -> None:
    data = images.read(Archive(archive, None))
    settings = TrainSettings(augment="crop-flip")
    augment = packs.augmentation(settings, data, torch.device("cpu"))
    train = data.features[packs.rows(data, images.TEST)[0], 0]
    mean = [float(train[:, c].astype(np.float64).mean()) for c in range(3)]
    x, draws = torch.from_numpy(train[:5].copy()), torch.zeros(5, 3)
    assert augment is not None
    augmented = augment(x, draws)
    np.testing.assert_allclose(augmented[:, :, 0, 0], np.tile(mean, (5, 1)), rtol=1e-6)
    torch.testing.assert_close(augmented, crop_and_flip(x, draws, fill=torch.tensor(mean).view(3, 1, 1)))
    assert packs.augmentation(TrainSettings(), data, torch.device("cpu")) is None
    sounds = packs.cache.Data(**{**data.__dict__, "spec": config.FeatureSpec(), "corpus": "esc50"})
    with pytest.raises(InputError, match="esc50 has sounds"):
        packs.augmentation(settings, sounds, torch.device("cpu"))


def test_the_presets_are_the_published_settings() -> None:
    paper, strong = (config.read(f"cifar-{name}").teacher for name in ("paper", "strong"))
    rates = [learning_rate(paper, epoch, 0, 175) for epoch in range(200)]
    expected = [0.001 * 0.1 ** sum(epoch >= mark for mark in (60, 120, 160)) for epoch in range(200)]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert (paper.model, paper.batch, paper.weight_decay, paper.nesterov, paper.augment) == (
        "resnet56",
        256,
        1e-4,
        True,
        "none",
    )
    assert strong.lr == 0.1 and strong.augment == "crop-flip" and strong.milestones == paper.milestones
    for wrong in ("60;120", "a", "0", "60,,120", "1.5"):
        with pytest.raises(InputError, match="milestones"):
            TrainSettings(milestones=wrong)
    with pytest.raises(InputError, match="augment"):
        TrainSettings(augment="flip")


def test_the_rows_of_table_4_have_weight_20() -> None:
    assert [row.percent for row in TABLE4] == [59.72, 64.30, 64.44, 65.36, 64.28, 64.32, 63.86, 64.82, 64.50]
    mixes = [losses.LossMix.parse(row.mix) for row in TABLE4[1:]]
    assert len(set(mixes)) == 8
    assert all(term.weight == (1 if term.name in ("ce", "soft") else 20) for mix in mixes for term in mix.terms)


def invoke(command, *options: object) -> Result:  # type: ignore[no-untyped-def]
    return CliRunner().invoke(command, [str(option) for option in options], catch_exceptions=False)


def rows_of(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with path.open(newline="") as file:
        return {(row["mix"], row["stage"]): row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_table_4_of_a_stand_in(archive: Path) -> None:
    options = [
        "--archive",
        archive,
        *SMALL,
        "--generations",
        2,
        "--losses",
        "none",
        "--losses",
        "angle",
        "--seeds",
        "0 1",
    ]
    done = invoke(table4, *options)
    assert done.exit_code == 0
    assert (
        done.stdout.startswith("SYNTHETIC: cifar100-stand-in: Table 4")
        and "preset cifar-paper: 2 epochs" in done.stdout
    )
    table = rows_of(Path("reports/cifar100-stand-in/table4.csv"))
    (group,) = Path("runs/cifar100-stand-in").glob("ban-cnn2-cifar-paper-*")
    labels = cifar.read_cifar100(archive, checksum=None).test_labels
    for mix, slug in (("ce:1,soft:1", "ce1+soft1"), ("angle:20,ce:1,soft:1", "angle20+ce1+soft1")):
        expected = []
        for seed in (0, 1):
            members = [runs.read_predictions(group / slug / f"gen{g}" / f"fold0-seed{seed}") for g in (1, 2)]
            total = sum(np.exp(m.logits) / np.exp(m.logits).sum(1, keepdims=True) for m in members)
            expected.append(100 * np.mean(total.argmax(1) == labels))
        row = table[mix, "ensemble of 2"]
        assert float(row["mean_percent"]) == pytest.approx(np.mean(expected)) and row["n"] == "2"
        assert (
            row["synthetic"] == "SYNTHETIC" and row["published_percent"] == "" and float(row["test_train_ratio"]) == 0
        )
    # Standardised by the training images' channels, as images are; what is kept aside is not in it.
    images_of_archive = cifar.read_cifar100(archive, checksum=None)
    pixels = images_of_archive.train[cifar.split(images_of_archive.train_labels, 0).train] / 255
    state = torch.load(group / "ce1+soft1" / "gen1" / "fold0-seed0" / "model.pt", weights_only=True)["state"]
    for name, values in (("mean", pixels.mean((0, 2, 3))), ("std", pixels.std((0, 2, 3)))):
        np.testing.assert_allclose(state[name][0, :, :, 0], np.tile(values, (32, 1)).T, rtol=1e-5)

    # Two generations of another network, on a stand-in: nothing published is beside them.
    assert "65.36" not in done.stdout and "+ angle" in done.stdout
    assert re.search(r"^ *cnn2 +\d", done.stdout, re.MULTILINE) and "ResNet-56  " not in done.stdout
    assert (Path("reports/cifar100-stand-in") / "table4.md").is_file()

    # Nothing is trained twice, and the same chains are there for the other command.
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("result.json")}
    again = invoke(ban, "--dataset", "cifar100", *options)
    assert again.exit_code == 0 and "nothing to do" in again.stderr and "to train" not in again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in Path("runs").rglob("result.json")}


def test_the_strong_preset_sees_other_images(archive: Path) -> None:
    """All that differs here from the paper's preset is crop and flip; the run says which it was."""
    options = ["--archive", archive, *SMALL, "--generations", 1, "--losses", "none"]
    invoke(table4, *options)
    done = invoke(table4, *options, "--preset", "strong")
    assert "(paper)" in done.stdout and "(strong)" in done.stdout and "augmentation crop-flip" in done.stdout
    (paper,), (strong,) = (
        list(Path("runs").rglob(f"teacher-cnn2-cifar-{name}-*/fold0-seed0")) for name in ("paper", "strong")
    )
    first, second = runs.read_metrics(paper)[0], runs.read_metrics(strong)[0]
    assert first["loss"] != second["loss"] and first["lr"] == second["lr"]
    assert runs.read_config(strong)["settings"]["teacher"]["augment"] == "crop-flip"


@pytest.mark.slow
def test_resnet56_takes_a_step_from_its_own_outputs(archive: Path) -> None:
    options = [option if option != "teacher.model=cnn2" else "teacher.epochs=1" for option in SMALL]
    done = invoke(
        table4,
        "--archive",
        archive,
        *options,
        "--set",
        "teacher.epochs=1",
        "--set",
        "teacher.batch=16",
        "--generations",
        1,
        "--losses",
        "angle,area",
        "--validation",
        24,
    )
    assert done.exit_code == 0
    (run,) = Path("runs").rglob("gen1/fold0-seed0")
    (line,) = runs.read_metrics(run)
    assert set(line["terms"]) == {"angle", "area", "ce", "soft"} and np.isfinite(line["loss"])
    assert runs.read_result(run)["parameters"] == models.parameters(models.build("resnet56", (3, 32, 32), 4))


def test_an_archive_that_is_not_the_published_one_is_refused(archive: Path) -> None:
    with pytest.raises(InputError, match="MD5"):
        invoke(table4, "--archive", archive, "--losses", "none")
    with pytest.raises(InputError, match="neither --model student nor --folds"):
        invoke(ban, "--dataset", "cifar100", "--archive", archive, "--no-checksum", "--model", "student")


def test_the_archive_can_be_named_as_data_and_not_twice(archive: Path) -> None:
    options = ["--dataset", "cifar100", *SMALL, "--generations", 1]
    done = invoke(ban, *options, "--data", archive)
    assert done.exit_code == 0 and "cifar100-stand-in" in done.stdout
    done = invoke(ban, *options, "--data", archive, "--archive", archive)
    assert done.exit_code == 2 and "--archive and --data both name the archive" in done.output


@pytest.mark.parametrize(
    "option", [("--archive", "x"), ("--split-seed", "0"), ("--validation", "5"), ("--no-checksum",)]
)
def test_options_of_images_are_refused_for_sounds(tmp_path: Path, option: tuple[str, ...]) -> None:
    done = invoke(ban, "--dataset", "esc50", "--data", tmp_path, *option)
    assert done.exit_code == 2 and f"{option[0]} is for CIFAR-100" in done.output


def test_runs_standardised_by_channel_and_row_are_read_as_they_are(tmp_path: Path) -> None:
    """Of earlier versions: their networks compute what they did; what hears sounds refuses them, as all of images."""
    shape = (3, 32, 32)
    network = models.network("cnn2", shape, 4).eval()
    network.mean.copy_(torch.rand(3, 32, 1))
    network.std.copy_(0.1 + torch.rand(3, 32, 1))
    tensors = {"mean": network.mean, "std": network.std, **network.body.state_dict()}
    state = {name: tensor[None].clone() for name, tensor in tensors.items()}
    about = {
        "format": 1,
        "role": "generation",
        "model": "cnn2",
        "fold": 0,
        "seed": 0,
        "mix": "ce:1",
        "shape": list(shape),
    }
    about |= {"classes": list("abcd"), "features": vars(images.Pixels()), "corpus": "cifar100", "dataset": "cifar100"}
    torch.save({**about, "synthetic": False, "state": state, "best_state": state}, tmp_path / "model.pt")
    x = torch.rand(5, *shape)
    with torch.inference_mode():
        logits = network_of(read_payload(tmp_path / "model.pt"))(x).logits
        expected = network.body((x - network.mean) / network.std).logits
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)

    sound = tmp_path / "a.wav"
    soundfile.write(sound, np.zeros(8000), 8000)
    done = CliRunner().invoke(cli.main, ["predict", str(tmp_path / "model.pt"), str(sound)])
    assert done.exit_code == 1 and done.stderr.count("\n") == 1
    assert "model.pt: trained on images (cifar100, RGB / 255), not on sounds; expected a run on a corpus" in done.stderr


@pytest.mark.slow
def test_table_4_killed_at_random_moments_comes_out_the_same(archive: Path, tmp_path: Path) -> None:
    """kill -9 of the process group at three moments; the same command goes on to the weights, predictions and curves of one without a stop."""
    epochs, mixes, seeds, generations = 20, 2, 2, 3
    words = ["table4", "--archive", str(archive), *SMALL, "--set", f"teacher.epochs={epochs}"]
    words += ["--generations", str(generations), "--losses", "none", "--losses", "angle", "--seeds", "0 1"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for place in (whole, stopped):
        place.mkdir()
    subprocess.run(killed.command(*words), cwd=whole, check=True, capture_output=True)
    folders = [path.parent.relative_to(whole) for path in whole.rglob("result.json")]
    assert len(folders) == seeds * (1 + mixes * generations)
    there = [stopped / folder for folder in folders]
    kills = list(killed.run(words, stopped, there, epochs * len(folders), 3, str(random.random())))
    assert kills and kills[0]["epochs"] < epochs * len(folders)
    subprocess.run(killed.command(*words), cwd=stopped, check=True, capture_output=True)
    assert killed.differing(whole, stopped, folders) == []
