"""Every kind of file that is written, damaged once: nothing of it is believed. The whole campaign: ``python -m bench.damage``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import damage
from bench.damage import Case
from bench.damaged_world import KINDS, made_world, run

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made_world(place := tmp_path_factory.mktemp("damaged") / "world")
    return place


def sample() -> list[Case]:
    """Every kind of file once; by turns the ways to damage it, and the commands that read it."""
    drawn = []
    for turn, (name, kind) in enumerate(KINDS.items()):
        of_kind = damage.cases([name])
        quick = [case for case in of_kind if "distill" not in case.command and case.command != "teacher"] or of_kind
        drawn.append(quick[(7 * turn + 3) % len(quick)])
        assert kind.commands
    return drawn


@pytest.mark.slow
@pytest.mark.parametrize("case", sample(), ids=lambda case: " ".join(case))
def test_a_damaged_file_is_not_believed(world: Path, case: Case) -> None:
    (one,) = damage.campaign(world, [case])
    assert one.end in damage.GOOD, one


@pytest.mark.slow
def test_an_exchanged_teacher_is_trained_again_to_the_same_bits_and_teaches_nobody_before(
    world: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(world, tmp_path / "world")
    case = Case("a teacher's model.pt", "exchanged with another fold's", "new distill")
    whole = KINDS[case.kind].file(copy).read_bytes()
    damage.damage(copy, case)
    refused = run(copy, "new distill")
    assert refused.code == 1 and "of another run (toy teacher fold2-seed0" in refused.stderr
    assert not list(copy.glob("runs/toy/student-*/hinton*/*/result.json"))
    again = run(copy, "teacher")
    assert again.code == 0 and again.stderr.count("it is trained again") == 2
    assert KINDS[case.kind].file(copy).read_bytes() == whole
    assert run(copy, "same distill").code == 0 and run(copy, "check").stdout.endswith("all as it was written\n")
