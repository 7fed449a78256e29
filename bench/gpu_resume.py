"""Kill and resume on the device: a real process is killed with SIGKILL while it trains, and another one goes on.

All of them train with cuDNN's deterministic kernels, so the same bits are expected. In the project's default settings two
whole trainings need not agree: on an H200 they were 0.67 (relative) apart after eight epochs, without any kill.

python -m bench.gpu_resume FOLDER DEVICE EPOCHS ROWS C,H,W     (the child: prints a line per epoch, leaves result.pt)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch

from bench.gpu_packs import Clock, Sizes, made_up, runs_of
from pipeline import training
from pipeline.config import TrainSettings
from pipeline.losses import LossMix

ROOT = Path(__file__).resolve().parents[1]
EPOCHS = 8
MIXES = ("angle,area", "soft", "hinton", "distance,area")


def train(folder: Path, device: str, epochs: int, rows: int, shape: tuple[int, int, int], tell: bool = False) -> None:
    """Four students from ``folder``'s checkpoint on, if it has one; ``tell``: a line per epoch."""
    data = made_up(rows, shape, 10, torch.device("cpu"))
    runs = runs_of([LossMix.parse(text) for text in MIXES], rows)
    trained = training.fit(
        data.samples,
        data.labels,
        runs,
        TrainSettings(model="cnn2", lr=0.01, epochs=epochs),
        classes=10,
        teaching=data.teacher,
        device=device,
        checkpoint=folder / "pack.ckpt",
        checkpoint_seconds=0.1,
        on_epoch=(lambda run, record: print("epoch", record["epoch"], flush=True)) if tell else None,
    )
    result = {f"{run}.{key}": value for run, one in enumerate(trained) for key, value in one.state.items()}
    result |= {f"{run}.logits": torch.from_numpy(one.logits) for run, one in enumerate(trained)}
    torch.save(result, folder / "result.pt")


def child(folder: Path, device: torch.device, size: Sizes) -> subprocess.Popen[str]:
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "bench.gpu_resume",
        str(folder),
        str(device),
        str(EPOCHS),
        str(size.resume_rows),
        ",".join(map(str, size.shape)),
    ]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    log = (folder / "stderr.txt").open("a")
    with log:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def kill_and_resume(size: Sizes, device: torch.device, clock: Clock, folder: Path) -> dict[str, Any]:
    """Two whole trainings (how far does the device agree with itself?) and one that is killed in its third epoch."""
    begun = time.monotonic()
    whole, again, killed = (folder / name for name in ("whole", "again", "killed"))
    on_card = device.type == "cuda"
    wholes = (whole, again) if on_card else (whole,)  # on the CPU the bits are the same
    processes = [child(where, device, size) for where in (killed, *(wholes if on_card else ()))]
    try:
        code = kill_within_an_epoch(processes[0], killed, clock)
        processes.append(child(killed, device, size))
        if not on_card:  # here, without a process's start
            whole.mkdir()
            train(whole, "cpu", EPOCHS, size.resume_rows, size.shape)
        for process, where in zip(processes[1:], (*wholes, killed) if on_card else (killed,)):
            finish(process, where, clock)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    results = [
        torch.load(where / "result.pt", map_location="cpu", weights_only=True) for where in (whole, wholes[-1], killed)
    ]
    resumed, twice = apart(results[0], results[2]), apart(results[0], results[1])
    resumptions = [line for line in stderr(killed).splitlines() if "going on from" in line]
    return {
        "killed_with": code,
        "resumed_at": resumptions[-1].rpartition(": ")[2] if resumptions else None,
        "same_bits": resumed == 0,
        "largest_relative_difference": resumed,
        "of_two_whole_trainings": twice,
        "expected": "the same bits, with cuDNN's deterministic kernels; by default two whole trainings may differ, "
        "by 0.67 on an H200",
        "as_expected": bool(resumptions) and resumed == 0 and twice == 0,
        "seconds": time.monotonic() - begun,
    }


def kill_within_an_epoch(process: subprocess.Popen[str], folder: Path, clock: Clock) -> int:
    """Kill a child that has done two epochs and written a checkpoint. Returns its code, which is -9."""
    late = threading.Timer(clock.left(), process.kill)
    late.start()
    assert process.stdout is not None
    for line in process.stdout:
        if line.split()[:2] == ["epoch", "2"]:
            break
    while not (folder / "pack.ckpt").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    code = process.wait()
    late.cancel()
    if code != -signal.SIGKILL or not (folder / "pack.ckpt").exists() or (folder / "result.pt").exists():
        raise RuntimeError(f"the child ended with {code} before it was to be killed: {stderr(folder)}")
    return code


def finish(process: subprocess.Popen[str], folder: Path, clock: Clock) -> None:
    """Wait for a child; ``RuntimeError`` with what it said where it failed or the time is up."""
    try:
        process.communicate(timeout=max(1.0, clock.left()))
    except subprocess.TimeoutExpired:
        raise RuntimeError("the time of this part is up") from None
    if process.returncode:
        raise RuntimeError(f"the child ended with {process.returncode}: {stderr(folder)}")


def stderr(folder: Path) -> str:
    return (folder / "stderr.txt").read_text()[-600:]


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest relative difference (norms) of two results' tensors; exactly 0 for the same bits."""
    return max(
        0.0
        if torch.equal(one[key], other[key])
        else float((one[key] - other[key]).norm() / one[key].norm().clamp_min(1e-30))
        for key in one
    )


if __name__ == "__main__":
    place, target, count, samples, sides = sys.argv[1:]
    channels, bins, frames = map(int, sides.split(","))
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    train(Path(place), target, int(count), int(samples), (channels, bins, frames), tell=True)
