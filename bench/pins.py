"""Record what a matrix of commands gives on this machine, and compare later code with it, bit for bit.

    python -m bench.pins record /tmp/pins.json [--data ../shared/urbansound8k-mini]
    ... change the code ...
    python -m bench.pins compare /tmp/pins.json

Everything goes through the command line and the files it writes (HDF5, npz, model.pt, JSON, ONNX, tables), so inner
modules may move. ``record`` works in a temporary folder: ``make`` extracts, trains, kills and resumes; ``look`` lists,
reports, predicts, exports and asks for the same training again. The SHA-256 of each array (type, shape, bytes) and
text goes into FILE.json, the folder itself into FILE.d. ``compare`` does the same with today's code (lines "now"), and
looks at a copy of FILE.d (lines "kept": caches and runs made before still serve). It prints a line per file, and ends
with 1 if any differs. Digests hold for one processor and one version of each library: commit no FILE.json.

What wall-clock time decides is masked (``bench.digests``), and so is the temporary folder. The page with pictures is
not made.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from bench.digests import changes, contents, digests, pins_of

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("torch", "numpy", "scipy", "librosa", "numba", "soxr", "h5py", "onnxruntime")
#: One thread per process, so that no sum depends on how many cores are there.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
SYNTHETIC = "--dataset synthetic --preset demo"
HOW = "--device cpu --pack 2 --layout loop --jobs 1"
SHORT = f"{SYNTHETIC} {HOW} --set teacher.epochs=2 --set student.epochs=4"
TEACHER = f"teacher {SHORT} --folds 1,2"
DISTILL = f"distill {SHORT} --folds 1,2 --losses soft --losses angle,area --losses hinton"
#: One run with the settings that are off by default, and one without any term on the outputs.
OTHER = (
    f"distill {SHORT} --folds 2 --losses distance,area,hinton@T=2,ce --losses angle:50,soft:0"
    " --set student.schedule=cosine --set student.warmup_epochs=1 --set student.clip_norm=1"
    " --set student.label_smoothing=0.1 --set student.class_weights=balanced --set student.teacher_epoch=best"
)
BAN = f"ban {SHORT} --folds 1 --model student --generations 2 --losses none --losses angle"
TABLE4 = (
    f"table4 --archive images.tar.gz --no-checksum {HOW} --set teacher.epochs=1 --set teacher.batch=8"
    " --validation 6 --generations 2 --losses none --losses angle"
)
MINI = "features --dataset urbansound8k --data data/mini --jobs 1"


def process(arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "cli.py"), *arguments.split()]


def command(work: Path, name: str, arguments: str, *, stderr: bool = False) -> None:
    """Run the command line in ``work``; what it prints is kept as ``said/NAME.txt``, on stderr only if asked for."""
    done = subprocess.run(process(arguments), cwd=work, env=ENVIRONMENT, capture_output=True, text=True)
    # Whether numba has to compile depends on who was here before.
    lines = [line for line in done.stderr.splitlines() if "kernels" not in line]
    text = done.stdout + ("\n".join(lines) if stderr or done.returncode else "")
    text = f"exit code {done.returncode}\n{text}".replace(str(work), "WORK")
    (work / "said").mkdir(exist_ok=True)
    (work / "said" / f"{name}.txt").write_text(text)
    if done.returncode:
        print(f"{name}: exit code {done.returncode}: {arguments}\n{done.stderr[-1500:]}", file=sys.stderr)


def trim(corpus: Path, folds: int, every: int) -> None:
    """Keep every so many rows of the first folds in the table of a corpus in UrbanSound8K's layout."""
    table = corpus / "metadata" / "UrbanSound8K.csv"
    with table.open(newline="") as file:
        head, *rows = csv.reader(file)
    rows = [row for row in rows if int(row[5]) <= folds][::every]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    names = {row[0] for row in rows}
    for path in corpus.glob("audio/*/*.wav"):
        if path.name not in names:
            path.unlink()
    for folder in corpus.glob("audio/*"):
        if not any(folder.iterdir()):
            folder.rmdir()


def make_sounds(work: Path) -> None:
    """Features, teachers, students, generations and a resumed run of the built-in corpus."""
    command(work, "make-features", f"features {SYNTHETIC} --folds 1 --jobs 2")
    trim(work / "data" / "synthetic", folds=3, every=2)
    command(work, "make-features-again", f"features {SYNTHETIC} --jobs 2")
    command(work, "make-teacher", TEACHER)
    command(work, "make-distill", DISTILL)
    resume(work)
    command(work, "make-other", OTHER)
    command(work, "make-ban", BAN)


def make_others(work: Path, data: Path | None) -> None:
    """Features of some real clips, and Table 4 on a small archive of CIFAR-100's form."""
    from tests.archives import write_stand_in

    write_stand_in(work / "images.tar.gz")
    command(work, "make-table4", TABLE4)
    if data:
        mini = work / "data" / "mini"
        shutil.copytree(data / "metadata", mini / "metadata")
        for path in data.glob("audio/*/*.wav"):
            (mini / "audio" / path.parent.name).mkdir(parents=True, exist_ok=True)
            (mini / "audio" / path.parent.name / path.name).symlink_to(path.resolve())
        trim(mini, folds=2, every=20)
        command(work, "make-mini", MINI)


def resume(work: Path) -> None:
    """Kill a run after its second epoch and go on; ``resumed/`` has its folder, which has to be the unbroken one's."""
    whole = run_of(work, "soft:1")
    arguments = f"distill {SHORT} --folds 1 --losses soft --checkpoint-minutes 0"
    with tempfile.TemporaryDirectory() as name:
        other = Path(name)
        shutil.copytree(work, other, ignore=shutil.ignore_patterns("student-*"), dirs_exist_ok=True)
        folder = other / whole.relative_to(work)
        for _ in range(3):
            child = subprocess.Popen(process(arguments), cwd=other, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
            while child.poll() is None and epochs(folder) < 2:
                time.sleep(0.005)
            child.send_signal(signal.SIGKILL)
            if child.wait() == -signal.SIGKILL and not (folder / "result.json").exists():
                break
            shutil.rmtree(folder)
        else:
            raise SystemExit("the run to be killed was finished each time: give it more epochs")
        command(other, "make-resumed", arguments, stderr=True)
        if "going on from" not in (other / "said" / "make-resumed.txt").read_text():
            raise SystemExit("the killed run began anew, not from its checkpoint")
        shutil.copytree(folder, work / "resumed")
    for file, key in (("predictions.npz", "logits"), ("model.pt", "state/")):
        one, two = (contents(folder / file) for folder in (whole, work / "resumed"))
        kept = [k for k in one if k.startswith(key)]
        if not kept or digests({k: one[k] for k in kept}) != digests({k: two[k] for k in kept}):
            print(f"CHANGED  {file}: the resumed run's is not the unbroken one's")


def epochs(folder: Path) -> int:
    log = folder / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.is_file() else 0


def run_of(work: Path, mix: str) -> Path:
    """The student of held-out fold 1 with this mix."""
    for path in sorted(work.glob("runs/synthetic/student-*/*/fold1-*/config.json")):
        if json.loads(path.read_text())["mix"] == mix:
            return path.parent
    raise SystemExit(f"no student with {mix} in {work}/runs; see the messages of distill above")


def look(work: Path) -> None:
    """Everything that reads features and runs; none of it may train a run that is there."""
    soft, hinton = (str(run_of(work, mix).relative_to(work)) for mix in ("soft:1", "hinton:1,soft:1"))
    sounds = sorted(work.glob("data/synthetic/audio/fold1/*.wav"))[:3]
    names = " ".join(str(path.relative_to(work)) for path in sounds)
    looks = {
        "report": "report --dataset synthetic --no-page",
        "runs": "runs",
        "runs-json": "runs --json",
        "retrieval": "retrieval --dataset synthetic",
        "compare": "compare soft angle,area --corpus synthetic",
        "ensemble": f"ensemble {soft} {hinton}",
        "predict": f"predict {soft} {hinton} {names} --json",
        "export": f"export {soft}",
        "rerun": f"rerun {hinton}",
        "inspect": f"inspect {SYNTHETIC} --fold 1",
        "explain": "distill --losses angle,area --losses hinton --explain",
        "table4": TABLE4,
    }
    # These say on stderr that there is nothing to do.
    again = {"features": f"features {SYNTHETIC}", "teacher": TEACHER, "distill": DISTILL, "ban": BAN}
    if (work / "data" / "mini").is_dir():
        again["mini"] = MINI
    with ThreadPoolExecutor(2) as pool:
        started = [
            pool.submit(command, work, f"look-{name}", arguments, stderr=name in again)
            for name, arguments in (looks | again).items()
        ]
        for future in started:
            future.result()


def make(work: Path, data: Path | None) -> None:
    with ThreadPoolExecutor(2) as pool:
        for lane in (pool.submit(make_sounds, work), pool.submit(make_others, work, data)):
            lane.result()


def machine() -> dict[str, str]:
    """What digests hold for."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = {name: version(name) for name in LIBRARIES}
    return {"processor": (models or [""])[0], "python": platform.python_version(), **versions}


def record(file: Path, data: Path | None) -> None:
    """Write ``file`` and the folder of everything that was made beside it."""
    kept = file.with_suffix(".d")
    if kept.exists() or file.exists():
        raise SystemExit(f"{file} or {kept} is there already; expected another name, or move both away")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name).resolve()
        make(work, data)
        look(work)
        printed = {path.stem: path.read_text() for path in sorted((work / "said").iterdir())}
        if failed := [name for name, text in printed.items() if not text.startswith("exit code 0\n")]:
            raise SystemExit(f"nothing recorded: {', '.join(failed)} failed; see above")
        pins = pins_of(work)
        shutil.copytree(work, kept, symlinks=True)
    file.write_text(json.dumps({"machine": machine(), "data": str(data or ""), "pins": pins}, indent=1) + "\n")
    print(f"{len(pins)} files pinned in {file}; what was made is in {kept}")


def compare(file: Path) -> bool:
    """Whether today's code gives what ``file`` says, anew ("now") and from what was made then ("kept")."""
    recorded = json.loads(file.read_text())
    kept, data = file.with_suffix(".d"), Path(recorded["data"]) if recorded["data"] else None
    if recorded["machine"] != machine():
        print(f"recorded on another machine or with other versions, so bits may differ: {recorded['machine']}")
    with tempfile.TemporaryDirectory() as name:
        now, then = Path(name).resolve() / "now", Path(name).resolve() / "kept"
        now.mkdir()
        shutil.copytree(kept, then, symlinks=True, ignore=shutil.ignore_patterns("reports", "exports", ".again"))
        for path in then.glob("said/look-*"):
            path.unlink()
        make(now, data)
        look(now)
        look(then)
        return sum(changes(recorded["pins"], work, kept) for work in (now, then)) == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("file", type=Path, help="FILE.json; FILE.d beside it has what was made")
    parser.add_argument(
        "--data", type=Path, help="record: real clips in UrbanSound8K's layout, a few of which are taken"
    )
    asked = parser.parse_args()
    if asked.action == "record":
        record(asked.file.resolve(), asked.data and asked.data.resolve())
    elif not compare(asked.file.resolve()):
        sys.exit(1)


if __name__ == "__main__":
    main()
