"""Losses, networks, corpora and experiments of a user's own, in a folder that rkd.toml names."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import QUICK, ROOT, audio_rkd, write_corpus

LOSS = '''"""How far the logits are from the teacher's."""
from __future__ import annotations

from torch import Tensor

from pipeline.losses import Outputs

FORMULA = "mean of |z_s - z_t|^2"
READS = ("logits",)
TEACHER = ("logits",)


def gap2(student: Outputs, teacher: Outputs, labels: Tensor | None) -> Tensor:
    return (student.logits - teacher.logits).square().mean((-2, -1))
'''

NETWORK = """from torch import nn

from pipeline.models.outputs import Outputs


class conv1(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(shape[0], 4, 3, padding=1), nn.Linear(4, classes)

    def forward(self, x):
        map1 = self.conv(x)
        embedding = map1.relu().mean((-2, -1))
        return Outputs(logits=self.linear(embedding), embedding=embedding, map1=map1)
"""

CORPUS = """from pipeline.corpus.urbansound8k import urbansound8k

PLACES = ("tones",)


def tones(folder):
    return urbansound8k(folder)
"""

EXPERIMENT = """title = "The gap under a network of one layer"

[[step]]
name = "gap"
mix = "gap2:0.001,soft"
teacher = "teacher"
network = "conv1"
"""

FILES = {
    "losses/gap2.py": LOSS,
    "models/conv1.py": NETWORK,
    "corpus/tones.py": CORPUS,
    "experiments/gaps.toml": EXPERIMENT,
}


def write(folder: Path, files: dict[str, str] = FILES, settings: str = 'plugins = ["mine"]\n') -> Path:
    for name, text in files.items():
        (folder / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "mine" / name).write_text(text)
    (folder / "rkd.toml").write_text(settings)
    return folder


def test_they_are_listed_and_explained_and_gone_afterwards(tmp_path: Path) -> None:
    from pipeline import corpus, losses, models
    from pipeline.experiments import files

    write(tmp_path)
    assert "tones" in audio_rkd(tmp_path, "features", "--help").stdout
    assert re.search(r"^gaps +The gap under", audio_rkd(tmp_path, "experiment").stdout, re.MULTILINE)
    told = audio_rkd(tmp_path, "distill", "--explain", "--losses", "gap2", "--set", "student.model=conv1").stdout
    assert "gap2: weight 1" in told and "mean of |z_s - z_t|^2" in told
    doctor = audio_rkd(tmp_path, "doctor").stdout
    assert "plugins      losses/gap2.py, models/conv1.py, corpus/tones.py, experiments/gaps.toml" in doctor
    assert "rkd.toml: plugins =" in doctor
    known = (*losses.names(), *models.names(), *corpus.names(), *files.names())
    assert not {"gap2", "conv1", "tones", "gaps"} & set(known), "a command's plugins outlive it"


@pytest.mark.parametrize(
    ("files", "settings", "line"),
    [
        ({"losses/angle.py": LOSS}, 'plugins = ["mine"]', "mine/losses/angle.py: audio-rkd has a file losses/angle.py"),
        ({"losses/mix.py": LOSS}, 'plugins = ["mine"]', "mine/losses/mix.py: audio-rkd has a file losses/mix.py"),
        ({"experiments/table3.toml": ""}, 'plugins = ["mine"]', "table3.toml: audio-rkd has a file"),
        ({"losses/my-gap.py": LOSS}, 'plugins = ["mine"]', "mine/losses/my-gap.py: expected a file's name of letters"),
        ({"losses/other.py": LOSS}, 'plugins = ["mine"]', "mine/losses/other.py: no other in it; expected def other("),
        (
            {"losses/gap3.py": "\ndef gap3 student:\n"},
            'plugins = ["mine"]',
            "gap3.py, line 2: 'def gap3 student:': no Python",
        ),
        (
            {"models/net.py": "class net:\n    pass\n"},
            'plugins = ["mine"]',
            "net.py, line 1: 'class net:': a class without a base",
        ),
        (
            {"models/net.py": "class net ( ):\n    pass\n"},
            'plugins = ["mine"]',
            "expected class net(torch.nn.Module), or def net(",
        ),
        (
            {"corpus/hall.py": "def hall:\n    pass\n"},
            'plugins = ["mine"]',
            "'def hall:': no Python; expected def hall(folder):",
        ),
        ({"gap2.py": LOSS}, 'plugins = ["mine"]', "mine/gap2.py: expected it in one of mine/losses/"),
        ({"loss/gap2.py": LOSS}, 'plugins = ["mine"]', "mine/loss: unknown kind of plugin, did you mean 'losses'?"),
        ({"notes/a.md": ""}, 'plugins = ["mine"]', "plugins: mine: nothing in it; expected mine/losses/"),
        (FILES, 'plugins = ["mein"]', "rkd.toml: plugins: mein: no such folder; expected one with mein/losses/"),
        (FILES, 'plugins = "mine"', "rkd.toml: plugins = 'mine': expected for example plugins = [\"my-plugins\"]"),
        (FILES | {"../other/losses/gap2.py": LOSS}, 'plugins = ["mine", "other"]', "gap2.py have one name"),
    ],
)
def test_what_is_refused(tmp_path: Path, files: dict[str, str], settings: str, line: str) -> None:
    done = audio_rkd(write(tmp_path, files, settings), "runs")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and line in done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LOSS.replace("return (", "return ("[:-1] + "[") + "\n", "gap2.py:"),
        (LOSS.replace("-> Tensor:", "-> Tensor"), "gap2.py:"),
        (LOSS.replace("FORMULA = ", "FORMULA = no_such_name + "), "NameError at gap2.py:8: name 'no_such_name'"),
        (LOSS.replace("FORMULA = ", "FORMULA = 1 / 0, "), "ZeroDivisionError at gap2.py:8"),
    ],
)
def test_an_error_in_a_file_is_one_line_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    write(tmp_path, {"losses/gap2.py": text})
    done = audio_rkd(tmp_path, "distill", "--explain", "--losses", "gap2")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and expected in done.stderr, done.stderr
    assert "the loss gap2 failed" in done.stderr
    assert audio_rkd(tmp_path, "distill", "--explain", "--losses", "angle").returncode == 0, "it costs the others too"


def test_a_data_set_that_gives_no_corpus_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"corpus/tones.py": "def tones(folder):\n    return 3\n"})
    done = audio_rkd(tmp_path, "verify", "--dataset", "tones", "--data", ".")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "the data set tones gives 3 for" in done.stderr and "expected a Corpus" in done.stderr


def test_another_process_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.setenv("AUDIO_RKD_PLUGINS", str(tmp_path / "mine"))
    code = (
        "from pipeline import corpus, losses, models; from pipeline.experiments import files; from pipeline.losses import LossMix\n"
        "print('tones' in corpus.names(), 'conv1' in models.names(), 'gaps' in files.names(), LossMix.parse('gap2'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True True True gap2:1,soft:1\n"


@pytest.mark.slow  # trains in processes of their own
def test_they_are_trained_with_and_recorded(tmp_path: Path) -> None:
    write(tmp_path, settings='plugins = ["mine"]\ndataset = "tones"\ndata = "toy"\nroot = "out"\n')
    write_corpus(tmp_path / "toy", folds=(1, 2, 3), clips=4)
    settings = (*QUICK, "--set", "student.lr=0.0001", "--set", "teacher.lr=0.0001")
    where = (*settings, "--jobs", "2")
    for call in (
        ("features", "--set", "features.bins=8", "--set", "features.bins_per_octave=24", "--jobs", "1"),
        ("teacher", "--folds", "1", *settings, "--jobs", "1"),
        ("distill", "--folds", "1", "--seeds", "0,1", "--losses", "gap2:0.001", *where),
        ("experiment", "gaps", "--folds", "1", *settings, "--jobs", "1"),
        ("report", "--no-page"),
    ):
        done = audio_rkd(tmp_path, *call)
        assert done.returncode == 0, done.stderr
    assert "gap2" in done.stdout
    digest = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in FILES.items()}
    (student,) = (tmp_path / "out" / "runs" / "toy").glob("student-cnn2-*/gap2*/fold1-seed0")
    config = json.loads((student / "config.json").read_text())
    assert config["plugins"] == {name: digest[name] for name in ("losses/gap2.py", "corpus/tones.py")}
    assert config["teacher"].startswith("runs/toy/teacher-"), "a record names the root"
    (step,) = (tmp_path / "out" / "runs" / "toy").glob("student-conv1-*/gap2*/fold1-seed0")
    used = json.loads((step / "config.json").read_text())["plugins"]
    assert used.items() <= digest.items() and {"losses/gap2.py", "models/conv1.py"} <= used.keys()
    (teacher,) = (tmp_path / "out" / "runs" / "toy").glob("teacher-*/fold1-seed0")
    assert set(json.loads((teacher / "config.json").read_text())["plugins"]) == {"corpus/tones.py"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out", "rkd.toml", "toy"]
    moved = tmp_path / "elsewhere"
    (tmp_path / "out").rename(moved)
    again = audio_rkd(tmp_path, "--root", str(moved), "experiment", "gaps", "--folds", "1", *settings)
    assert again.returncode == 0 and "to train" not in again.stderr.replace("0 to train", ""), again.stderr
    (tmp_path / "rkd.toml").write_text('dataset = "urbansound8k"\ndata = "toy"\nroot = "elsewhere"\n')
    without = audio_rkd(tmp_path, "runs")
    assert without.returncode == 0 and without.stdout.endswith("4 runs\n"), without.stderr
    report = audio_rkd(tmp_path, "report", "--no-page")
    assert report.returncode == 0 and "gap2" in report.stdout, report.stderr
