"""The GPU rehearsal: what a card makes of the packs, in one go that ends in time.

    python -m bench.gpu [--minutes 8] [--out FILE] [--rehearse] [--only PARTS] [--banks FILE]

Needs torch (2.11 or newer), numpy, tqdm and click; no librosa, soundfile, corpus or network: the features are made up, of
full size, on the device. In order of worth: equality with the CPU, run-steps per second by layout, Table 3 of full
size, kill and resume, the floor, ResNet-56, a profile, torch's settings, the features as a torch module. Every part has its share of the time, and one
that fails costs only itself: its error is in the file, which is written anew after each part.
``--rehearse`` runs all of it small, on the CPU where there is no card. ``--banks`` writes the filter banks of the features (which
need librosa) to a file that is not there yet, and ends; on a machine without librosa it reads them from there.
"""

from __future__ import annotations

import faulthandler
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

from bench import gpu_equality, gpu_frontend, gpu_rates, gpu_resume, gpu_training
from bench.gpu_packs import SMALL, Clock, Sizes, free, named_error

Report = dict[str, Any]

#: What each part may take of the whole time; what one leaves, the later ones do not need.
SHARES = {
    "equality": 0.12,
    "rates": 0.30,
    "table3": 0.16,
    "resume": 0.11,
    "floor": 0.02,
    "profile": 0.07,
    "resnet56": 0.13,
    "settings": 0.08,
    "frontend": 0.01,
}


def parts(
    size: Sizes, device: torch.device, report: Report, folder: Path, banks: Path | None
) -> dict[str, Callable[[Clock], Report]]:
    """The parts in order of worth, each as a function of its time."""
    return {
        "equality": lambda clock: gpu_equality.compare(size, device, clock),
        "rates": lambda clock: gpu_rates.rates(size, device, clock),
        "table3": lambda clock: gpu_training.table3(size, device, clock),
        "resume": lambda clock: gpu_resume.kill_and_resume(size, device, clock, folder),
        "floor": lambda clock: gpu_rates.floor(size, device, report),
        "profile": lambda clock: gpu_rates.profile(size, device, clock),
        "resnet56": lambda clock: gpu_training.resnet56(size, device, clock),
        "settings": lambda clock: gpu_rates.settings_of_torch(size, device, clock),
        "frontend": lambda clock: gpu_frontend.frontend(size, device, clock, banks),
    }


def machine(device: torch.device, small: bool) -> Report:
    about: Report = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(device),
        "small": small,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about |= {
            "card": properties.name,
            "GiB": properties.total_memory / 2**30,
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return about


def save(report: Report, out: Path | None) -> None:
    """The report as JSON, whole at any moment."""
    if out is None:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.tmp")
    unfinished.write_text(json.dumps(report, indent=1, default=str))
    unfinished.replace(out)


def give_up(report: Report, out: Path | None) -> None:
    """The time is up and a part hangs: what there is, is written, and the process ends."""
    report["machine"]["stopped"] = "the time was up within a part"
    save(dict(report), out)
    faulthandler.dump_traceback()
    os._exit(3)


def measure(
    size: Sizes,
    device: torch.device,
    minutes: float,
    out: Path | None,
    only: tuple[str, ...],
    banks: Path | None = None,
) -> Report:
    """Run the parts and print a table of each; returns all figures."""
    clock = Clock(60 * minutes)
    report: Report = {"machine": machine(device, size is SMALL)}
    report |= {name: {"error": "not run"} for name in SHARES}
    guard = threading.Timer(60 * minutes + 5, give_up, (report, out))
    guard.daemon = True
    guard.start()
    print(*(f"{key} {value}" for key, value in report["machine"].items()), sep=", ", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, part in parts(size, device, report, Path(folder), banks).items():
            if only and name not in only:
                continue
            begun = time.monotonic()
            try:
                if clock.left() < 3:
                    raise TimeoutError("the time is up")
                report[name] = part(clock.part(60 * minutes * (1 if size is SMALL else SHARES[name])))
            except Exception as error:
                report[name] = {"error": named_error(error)}
            report[name]["part_seconds"] = time.monotonic() - begun
            free(device)
            save(report, out)
            print(
                f"\n{name} ({report[name]['part_seconds']:.0f} s)",
                *lines(report[name]),
                sep="\n  ",
                flush=True,
            )
    guard.cancel()
    return report


def lines(entry: Report, most: int = 150) -> list[str]:
    """An entry of the report, a line per figure and per row of a table."""
    shown = []
    for key, value in entry.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            shown += ["  ".join(f"{k} {plain(v)}" for k, v in row.items() if k != "kernels") for row in value]
        elif isinstance(value, dict) and key in ("stages", "networks"):
            shown += [
                f"{name}: " + "  ".join(f"{k} {plain(v)}" for k, v in part.items()) for name, part in value.items()
            ]
        elif key not in ("losses", "part_seconds"):
            shown.append(f"{key}: {plain(value)}")
    return shown[:most]


def plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} {plain(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(plain, value)) + "]"
    return str(value)


@click.command(help=__doc__)
@click.option("--minutes", default=8.0, show_default=True, type=click.FloatRange(0.2), help="Ends by then.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file, one entry for each part.")
@click.option("--rehearse", is_flag=True, help="All of it small, on the CPU where there is no card.")
@click.option("--only", default="", help="Parts to run, with commas between.")
@click.option(
    "--banks",
    type=click.Path(path_type=Path),
    help="Filter banks of the front-end: read; where there is no such file, written, and that is all.",
)
def main(minutes: float, out: Path | None, rehearse: bool, only: str, banks: Path | None) -> None:
    if banks is not None and not banks.is_file():
        gpu_frontend.write(banks)
        return
    wanted = tuple(filter(None, only.split(",")))
    if unknown := set(wanted) - set(SHARES):
        raise click.UsageError(f"--only {', '.join(sorted(unknown))}: expected some of {', '.join(SHARES)}")
    if not torch.cuda.is_available() and not rehearse:
        raise click.ClickException("no CUDA device; expected one, or --rehearse for a small run on the CPU")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)  # so small are the operations of a rehearsal
    torch.backends.cuda.matmul.allow_tf32 = False
    measure(SMALL if rehearse else Sizes(), device, minutes, out, wanted, banks)


if __name__ == "__main__":
    main()
