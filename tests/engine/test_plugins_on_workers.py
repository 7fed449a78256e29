"""A network, a loss, a corpus and an experiment of a user's own on dask workers that stand in other folders, called by address."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engine.test_workers_apart import numbers, weights, worker
from tests.test_plugins import CORPUS, FILES, NETWORK, write
from tests.tiny import audio_rkd, write_corpus

pytest.importorskip("distributed", reason="the extra dask is not installed")

SETS = [
    word
    for change in (
        "teacher.epochs=1",
        "student.epochs=2",
        "student.lr=0.000001",
        "features.bins=8",
        "features.bins_per_octave=24",
    )
    for word in ("--set", change)
]
COMMANDS = (
    ("features", "--dataset", "tones", "--data", "tiny", *SETS),
    ("experiment", "gaps", "--dataset", "tones", "--data", "tiny", *SETS, "--folds", "1,2"),
)

#: Not in this project: a test looks for what the text of a file imports.
PARTS = "pipeline.models._parts"

#: The network and the corpus take what others may share from a file beside theirs.
WITH_HELPERS = {
    **FILES,
    "models/_parts.py": "WIDTH = 4\n",
    "models/conv1.py": NETWORK.replace("from torch import nn\n", f"from torch import nn\n\nfrom {PARTS} import WIDTH\n")
    .replace("shape[0], 4,", "shape[0], WIDTH,")
    .replace("Linear(4,", "Linear(WIDTH,"),
    "corpus/_where.py": "from pipeline.corpus.urbansound8k import urbansound8k\n",
    "corpus/tones.py": CORPUS.replace("pipeline.corpus.urbansound8k", "pipeline.corpus._where"),
}


@pytest.mark.slow
def test_plugins_on_workers_elsewhere_are_those_of_one_process(tmp_path: Path) -> None:
    from dask.distributed import LocalCluster

    home, away, apart = tmp_path / "home", tmp_path / "away", tmp_path / "workers"
    write_corpus(home / "tiny")
    write(home, WITH_HELPERS)
    shutil.copytree(home, away)
    with (
        LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        worker(cluster.scheduler_address, apart / "first"),
        worker(cluster.scheduler_address, apart / "second"),
    ):
        cluster.wait_for_workers(2, timeout=120)
        for width in (4, 6):  # the workers stay, and the network becomes another one
            for folder, options in (
                (home, ()),
                (away, ("--backend", "dask", "--scheduler", cluster.scheduler_address)),
            ):
                (folder / "mine" / "models" / "_parts.py").write_text(f"WIDTH = {width}\n")
                for command in COMMANDS:
                    done = audio_rkd(folder, *command, *options)
                    assert done.returncode == 0, done.stderr
            expected, computed = numbers(home), numbers(away)
            assert len(expected) == 3 and all(np.array_equal(computed[name], expected[name]) for name in expected)
            states, learned = weights(home), weights(away)
            assert states.keys() == learned.keys() and len(states) == 4
            for name, state in states.items():
                assert all(torch.equal(learned[name][key], value) for key, value in state.items()), name
            assert {state["conv.weight"].shape[1] for name, state in states.items() if "gap" in name} == {width}
            for folder in (home, away):
                shutil.rmtree(folder / "runs")
