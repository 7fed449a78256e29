"""The GPU rehearsal, small and on the CPU: its report, and that a part which fails costs only itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import gpu, gpu_rates

ROOT = Path(__file__).resolve().parents[2]


def test_a_part_that_fails_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("a card of paper")

    monkeypatch.setattr(gpu_rates, "rates", broken)
    out = tmp_path / "out.json"
    arguments = ["--rehearse", "--only", "rates,floor,frontend", "--out", str(out)]
    assert CliRunner().invoke(gpu.main, arguments, catch_exceptions=False).exit_code == 0
    report = json.loads(out.read_text())
    assert report["rates"]["error"] == "ValueError: a card of paper"
    assert report["floor"]["networks"]["cnn2"]["operations"] > 0
    assert report["equality"]["error"] == "not run" and "not yet" in report["frontend"]["error"]


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
    for name in ("equality", "rates", "floor", "table3", "resnet56", "resume", "profile", "settings"):
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
    assert "not yet" in report["frontend"]["error"]
