"""Settings that are refused in one line, and the clip length, which is the corpus'."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from pipeline import config, presets
from pipeline.config import FeatureSpec, InputError


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bins": "20"}, "features.bins = '20': expected a whole number"),
        ({"sr": 22050.5}, "features.sr = 22050.5: expected a whole number"),
        ({"n_fft": None}, "features.n_fft = None: expected a whole number"),
        ({"hop_length": True}, "features.hop_length = True: expected a whole number"),
        ({"noise_seed": 0.5}, "features.noise_seed = 0.5: expected a whole number"),
        ({"floor": 1.0}, "features.floor = 1.0: expected 0 or more, below 1"),
        ({"floor": -1e-5}, "features.floor = -1e-05: expected 0 or more"),
        ({"seconds": "4"}, "features.seconds = '4': expected a number"),
        ({"bins": 0}, "features.bins = 0: expected a positive whole number"),
        ({"chroma_bins": 21}, "features.chroma_bins = 21: expected 0 to bins = 20"),
        ({"bins": 9}, "expected a multiple of 9, for example 36"),
        (
            {"chroma_bins": 12},
            "features.bins_per_octave = 40: expected a multiple of 60 (of bins = 20 and chroma_bins = 12), for example 60",
        ),
    ],
)
def test_a_wrong_feature_setting_is_one_line(values: dict, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        FeatureSpec(**values)
    assert "\n" not in str(caught.value)


def test_what_the_message_suggests_is_accepted() -> None:
    assert FeatureSpec(chroma_bins=12, bins_per_octave=60).cens_bins == 12
    assert FeatureSpec(bins=9, bins_per_octave=36).bins == 9


def test_an_override_of_the_clip_length_may_only_agree_with_the_corpus(tmp_path: Path) -> None:
    for override in ("features.seconds=2", "features. seconds = 2.0"):
        asked = config.read("default", [override])
        assert config.for_corpus(asked, 2.0).features.seconds == 2.0
        with pytest.raises(InputError, match=r"features.seconds=2: the clip length is the corpus', 5 s") as caught:
            config.for_corpus(asked, 5.0)
        assert "corpus.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_presets_serve_corpora_of_any_clip_length(tmp_path: Path) -> None:
    stated = tmp_path / "mine.toml"
    stated.write_text("[features]\nseconds = 5.0\n")
    for preset in ("default", "paper", "demo", str(stated)):
        settings = config.for_corpus(config.read(preset, ["features.noise_std=0.01"]), 5.0)
        assert settings.features == dataclasses.replace(FeatureSpec(), seconds=5.0, noise_std=0.01)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("teacher.epochs=0", "epochs = 0: expected at least 1"),
        ("student.momentum=1.5", "momentum = 1.5: expected a number below 1, for example 0.9"),
        ("student.gamma=.2", "gamma = '.2': expected float, a number such as 0.2"),
        ("features.bins=0", "features.bins = 0: expected a positive whole number"),
        ("student.LR=1", "unknown key 'LR'; did you mean lr?"),
        ("student.depth=1", "unknown key 'depth'; expected one of model, epochs, batch,"),
        ("students.lr=1", "unknown table [students]; expected features, teacher, student"),
    ],
)
def test_the_override_that_is_wrong_is_named_and_no_other(override: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        config.read("default", ("student.batch=4", override, "teacher.lr=0.1"))
    assert str(caught.value).startswith(f"--set {override}: {words}")


@pytest.mark.parametrize("name", ["student.lr", "student.mixup", "student.epochs", "features.floor", "features.views"])
def test_a_number_that_no_float_holds_is_one_line(name: str) -> None:
    with pytest.raises(InputError, match=r"100000000000…: expected a number of less than 300 digits") as refused:
        config.read("demo", [f"{name}={10**400}"])
    assert "\n" not in str(refused.value)


def test_overrides_that_are_right_alone_and_not_together_are_named_both() -> None:
    config.read("default", ("student.batch=6", "student.sampler=classes:3"))
    with pytest.raises(InputError) as caught:
        config.read("demo", ("student.sampler=classes:4", "student.batch=6"))
    assert str(caught.value).startswith("--set student.sampler=classes:4, --set student.batch=6: ")


#: Every setting of the shipped presets. They are part of the paths of caches and runs: another value is another run.
FEATURES = {
    "seconds": 4.0,
    "sr": 22050,
    "n_fft": 2048,
    "hop_length": 512,
    "bins": 20,
    "bins_per_octave": 40,
    "chroma_bins": 0,
    "tuning": "estimate",
    "noise_std": 0.001,
    "noise_seed": 0,
    "version": 1,
    "floor": 0.0,
    "short": "pad",
    "views": 0,
    "backgrounds": "",
    "rooms": "",
    "use": "all",
    "engine": "librosa",
}
NETWORK = {
    "batch": 8,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 1e-4,
    "schedule": "step",
    "step_epochs": 10,
    "gamma": 0.1,
    "milestones": "",
    "warmup_epochs": 0.0,
    "clip_norm": 0.0,
    "label_smoothing": 0.0,
    "class_weights": "none",
    "precision": "float32",
    "tf32": False,
    "data": "float32",
    "augment": "none",
    "teacher_epoch": "last",
    "teacher_seed": 0,
    "teacher_average": "probabilities",
    "teacher_hears": "inputs",
    "views": "all",
    "mixup": 0.0,
    "mixstyle": 0.0,
    "mixstyle_alpha": 0.3,
    "sampler": "shuffle",
    "optimizer": "sgd",
    "beta2": 0.999,
    "average": 0.0,
    "dropout": 0.0,
    "keep": "",
    "freeze": "",
    **{"input_noise": 0.0, "teacher_dropout": 0.0, "teacher_dropout_at": "stages"},
    **{"label_noise": 0.0, "label_noise_fixed": 0.0},
    **{"unlabelled": 0.0, "unlabelled_threshold": 0.0, "unlabelled_per_class": 0, "classes": "", "features_in": "auto"},
}
CIFAR = {"model": "resnet56", "epochs": 200, "batch": 256, "milestones": "60,120,160"}
PAPER_STUDENT = {"model": "cnn2", "epochs": 40, "lr": 0.1}
SHIPPED = {
    "default": ({"model": "resnet18", "epochs": 20, "lr": 0.1}, {"model": "cnn2", "epochs": 20, "lr": 0.002}),
    "paper": ({"model": "resnet18", "epochs": 40, "lr": 0.1}, PAPER_STUDENT),
    "demo": (
        {"model": "resnet18", "epochs": 10, "lr": 0.02, "step_epochs": 7},
        {"model": "cnn2", "epochs": 12, "lr": 0.002, "step_epochs": 9},
    ),
    "cifar-paper": (CIFAR | {"lr": 0.001}, PAPER_STUDENT),
    "cifar-strong": (CIFAR | {"lr": 0.1, "augment": "crop-flip"}, PAPER_STUDENT),
}
SHIPPED["device"] = SHIPPED["default"]
#: Of the presets for students that are to be shipped.
ADAMW = {"optimizer": "adamw", "weight_decay": 0.05, "schedule": "cosine"}
AVERAGED = ADAMW | {
    "epochs": 24,
    "batch": 64,
    "lr": 0.003,
    "warmup_epochs": 1.0,
    "label_smoothing": 0.1,
    "average": 0.99,
}
CHANGED = {"mixup": 0.4, "augment": "shift,blank,gain"}
MIXING = {"model": "large"} | AVERAGED | CHANGED
ONE_VIEW = {"views": "random"}
LONG = {"model": "cnn2", "epochs": 50, "batch": 16, "lr": 0.001, "warmup_epochs": 2.5}
SHIPPED |= {
    "strong": (MIXING | ONE_VIEW, ADAMW | LONG | ONE_VIEW),
    "small": (MIXING | ONE_VIEW, {"model": "small"} | AVERAGED | CHANGED | ONE_VIEW),
    "tiny": (MIXING | ONE_VIEW, {"model": "tiny"} | AVERAGED | CHANGED | ONE_VIEW),
}
DIGESTS = {
    "default": ("b37b3e20", "70ca9325", "f8004153"),
    "paper": ("b37b3e20", "a204a85e", "ed684a46"),
    "demo": ("b37b3e20", "a1d0fe42", "5ca80080"),
    "cifar-paper": ("b37b3e20", "7e791fb1", "ed684a46"),
    "cifar-strong": ("b37b3e20", "ac2881f5", "ed684a46"),
    "device": ("5f0a82bb", "70ca9325", "f8004153"),
    "strong": ("975ef5b4", "8aaa6fd8", "1d9e599f"),
    "small": ("53b6b862", "8aaa6fd8", "4b888ea4"),
    "tiny": ("53b6b862", "8aaa6fd8", "92f74d99"),
}
#: Features of presets that are not those of default.
OTHER_FEATURES = {"device": {"tuning": 0.0, "floor": 1e-5}}
OTHER_FEATURES["strong"] = {"views": 6}
OTHER_FEATURES |= {name: {"use": "melspectrogram", "bins": 64} for name in ("small", "tiny")}


def test_the_shipped_presets_are_what_they_were() -> None:
    assert set(SHIPPED) == set(DIGESTS) == {path.stem for path in presets.FOLDER.glob("*.toml")}
    for name, (teacher, student) in SHIPPED.items():
        settings = config.read(name)
        assert settings.preset == name and settings.asked_seconds is None
        assert dataclasses.asdict(settings.features) == FEATURES | OTHER_FEATURES.get(name, {}), name
        assert dataclasses.asdict(settings.teacher) == NETWORK | teacher, name
        assert dataclasses.asdict(settings.student) == NETWORK | student, name
        parts = (settings.features, settings.teacher, settings.student)
        assert tuple(map(config.digest, parts)) == DIGESTS[name]


def test_every_value_of_a_preset_says_where_it_is_from() -> None:
    for path in presets.FOLDER.glob("*.toml"):
        for line in path.read_text().splitlines():
            if line and line[0] not in "#[" and not line.startswith("extends"):
                assert re.search(r" # (published|theirs in code|ours)([;:,. ].*)?$", line), f"{path.name}: {line}"
    base = tomllib.loads(presets.BASE.read_text())
    for table, kind in config.KINDS.items():
        assert set(base[table]) == {field.name for field in dataclasses.fields(kind)} - {"version"}


def preset(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_preset_takes_what_it_leaves_out_from_default(tmp_path: Path) -> None:
    base = config.read("default")
    for text in ("", "[student]\n", "[teacher]\nepochs = 3\n", 'extends = "default"\n'):
        mine = config.read(preset(tmp_path, "mine.toml", text))
        assert mine.preset == "mine" and mine.student == base.student and mine.features == base.features
        assert mine.teacher == (dataclasses.replace(base.teacher, epochs=3) if "epochs" in text else base.teacher)
    mine = config.read(preset(tmp_path, "default.toml", "[student]\nepochs = 3\n"), ["student.batch=4"])
    assert mine.student == dataclasses.replace(base.student, epochs=3, batch=4)


def test_extends_names_another_preset_or_a_file_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    preset(
        tmp_path,
        "slow.toml",
        'extends = "paper"\n[student]\nepochs = 90\nlr = 0.001\n[features]\nnoise_std = 0.005\n',
    )
    mine = preset(tmp_path / "deep", "mine.toml", 'extends = "../slow.toml"\n[student]\nepochs = 7\n')
    paper, settings = config.read("paper"), config.read(mine)
    assert settings.teacher == paper.teacher
    assert settings.student == dataclasses.replace(paper.student, epochs=7, lr=0.001)
    assert settings.features == FeatureSpec(noise_std=0.005)
    monkeypatch.chdir(tmp_path / "deep")
    assert config.read("mine.toml") == settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('extends = "papre"', "mine.toml: extends: no preset 'papre'; expected one of cifar-paper"),
        ('extends = "gone.toml"', "mine.toml: extends: no preset 'gone.toml'"),
        ('extends = "mine.toml"', "mine.toml: a preset that layers on itself; expected an end"),
        ('extends = "./mine.toml"', "a preset that layers on itself"),
        ('extends = "other.toml"', "other.toml → "),
        ("extends = 3", "mine.toml: extends = 3: expected one name, for example 'paper'"),
        ('extends = ["paper", "demo"]', "expected one name"),
        ('extends = ""', "no preset ''"),
        ('extends = "broken.toml"', "broken.toml: not a TOML file"),
        ('extends = "wrong.toml"', "wrong.toml [student]: unknown key 'lrr'"),
        ("[extends]", "expected one name"),
        ('[student]\nextends = "paper"', "mine.toml [student]: unknown key 'extends'"),
        ("[students]", "mine.toml: unknown table [students]"),
        ("student = 3", "mine.toml: unknown table [student]"),
        ("[student]\nlr = -1", "mine.toml [student]: lr = -1"),
    ],
)
def test_a_preset_that_cannot_be_read_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    preset(tmp_path, "other.toml", 'extends = "mine.toml"\n')
    preset(tmp_path, "broken.toml", "[student\n")
    preset(tmp_path, "wrong.toml", "[student]\nlrr = 0.1\n")
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        config.read(preset(tmp_path, "mine.toml", text + "\n"))
    assert "\n" not in str(caught.value)


def test_a_preset_that_an_editor_began_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf[student]\r\nlr = 0.25\r\n")
    assert config.read(str(path)).student.lr == 0.25
