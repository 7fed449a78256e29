"""The GPU rehearsal, small and on the CPU: its report, and that a part which fails costs only itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from bench import gpu, gpu_rates
from pipeline.config import FeatureSpec
from pipeline.features.graph import Features

ROOT = Path(__file__).resolve().parents[2]


def test_a_part_that_fails_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("a card of paper")

    monkeypatch.setattr(gpu_rates, "rates", broken)
    out = tmp_path / "out.json"
    arguments = ["--rehearse", "--only", "rates,floor", "--out", str(out)]
    assert CliRunner().invoke(gpu.main, arguments, catch_exceptions=False).exit_code == 0
    report = json.loads(out.read_text())
    assert report["rates"]["error"] == "ValueError: a card of paper"
    assert report["floor"]["networks"]["cnn2"]["operations"] > 0
    assert report["equality"]["error"] == report["frontend"]["error"] == "not run"


def test_operations_of_the_floor_by_hand() -> None:
    """The student at full size: 2 · (multiplications) forward, once more to the weights, once more to the inputs."""
    first, second = 20 * 173 * 32 * 5 * 9, 10 * 86 * 16 * 32 * 9
    linear = 3440 * 32 + 32 * 10
    need = gpu_rates.counted("cnn2", (5, 20, 173), 10, 8)
    assert need["operations"] == 8 * 2 * (2 * first + 3 * second + 3 * linear)


def test_unknown_parts_are_named() -> None:
    result = CliRunner().invoke(gpu.main, ["--rehearse", "--only", "speed"])
    assert result.exit_code == 2 and "speed" in result.output and "equality" in result.output


def test_nothing_of_sound_is_imported() -> None:
    """A card's machine may have neither librosa nor soundfile nor what they bring."""
    script = (
        "import sys\n"
        "import bench.gpu, bench.gpu_resume\n"
        "print(sorted({'librosa', 'soundfile', 'soxr', 'pooch', 'dask', 'matplotlib'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_rehearsal_has_an_entry_for_each_part(tmp_path: Path) -> None:
    """All of it, on the CPU: equal in every layout, and a killed training goes on to the same bits."""
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "bench.gpu", "--rehearse", "--minutes", "4", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert report["machine"]["small"] is True
    for name in ("equality", "rates", "floor", "table3", "resnet56", "resume", "profile", "settings", "frontend"):
        assert "error" not in report[name], report[name]
    assert all(row.get("equal") for row in report["equality"]["rows"]), report["equality"]["rows"]
    assert report["resume"]["same_bits"] and report["resume"]["as_expected"]
    assert report["resume"]["killed_with"] == -9
    assert {row["layout"] for row in report["rates"]["rows"]} == {"loop", "vmap"}
    for name in ("rates", "resnet56", "settings"):
        assert not [row for row in report[name]["rows"] if "error" in row], report[name]["rows"]
    assert {row["precision"] for row in report["resnet56"]["rows"]} == {"float32", "tf32", "bfloat16"}
    assert all(row["run_steps_per_second"] > 0 for row in report["rates"]["rows"])
    assert report["table3"]["extrapolated_seconds"] > 0
    assert all(row["clips_per_second"] > 0 for row in report["frontend"]["rows"])
    assert set(report["frontend"]["largest_difference"]) == {
        "mfcc",
        "melspectrogram",
        "chroma_stft",
        "chroma_cqt",
        "chroma_cens",
    }


@pytest.mark.slow
def test_the_features_of_a_file_are_those_of_the_graph_without_librosa(tmp_path: Path) -> None:
    """Written where librosa is, read where it is not, and neither soxr nor soundfile nor threadpoolctl."""
    banks = tmp_path / "banks"
    assert CliRunner().invoke(gpu.main, ["--banks", str(banks)], catch_exceptions=False).exit_code == 0
    script = (
        "import sys\n"
        "for name in ('librosa', 'soxr', 'soundfile', 'scipy', 'threadpoolctl', 'numba'):\n"
        "    sys.modules[name] = None\n"
        "import pathlib, torch\n"
        "from bench import gpu, gpu_frontend\n"
        "features = gpu_frontend.read(pathlib.Path(sys.argv[1])).module()\n"
        "samples = torch.randn(3, 88200, generator=torch.Generator().manual_seed(1)) / 10\n"
        "torch.save(features(samples), sys.argv[2])\n"
        "gpu.main(['--rehearse', '--only', 'frontend', '--banks', sys.argv[1], '--out', sys.argv[3]])\n"
    )
    out = tmp_path / "out.json"
    command = [sys.executable, "-c", script, str(banks), str(tmp_path / "values.pt"), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    samples = torch.randn(3, 88200, generator=torch.Generator().manual_seed(1)) / 10
    expected = Features(FeatureSpec(tuning=0.0)).eval()(samples)
    torch.testing.assert_close(torch.load(tmp_path / "values.pt"), expected, rtol=0, atol=1e-4)
    report = json.loads(out.read_text())["frontend"]
    assert report["read_from"] == "a file" and [row["clips"] for row in report["rows"]] == [2, 1]
