"""Every kind of file that is written, damaged once: nothing of it is believed. The whole campaign: ``python -m bench.damage``."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from bench import damage, damage_record
from bench.damage import Case
from bench.damaged_making import made_world
from bench.damaged_running import run
from bench.damaged_world import KINDS

pytest.importorskip("onnxruntime")

#: Commands that train, draw, measure time or start processes.
SLOW = re.compile(r"distill|teacher|experiment|rerun|cost|processes|cluster|report|web|retrieval")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made_world(place := tmp_path_factory.mktemp("damaged") / "world")
    return place


def sample() -> list[Case]:
    """Every kind of file once; by turns the ways to damage it, and the commands that read it."""
    drawn = []
    for turn, (name, kind) in enumerate(KINDS.items()):
        of_kind = damage.cases([name])
        quick = [case for case in of_kind if not SLOW.search(case.command)] or of_kind
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


def test_the_record_goes_on_where_it_was_and_knows_what_killed_its_process(tmp_path: Path) -> None:
    first, second, third = damage.cases(["folds.csv"])[:3]
    record = tmp_path / damage_record.RECORD
    for entry in ([first], [first, "refused", "error: …"], [second], [third], [second]):
        damage_record.append(record, entry)
    with record.open("a") as file:
        file.write(json.dumps([third, "undamaged", ""])[:40])  # killed in the middle of a line
    known = damage_record.read(record)
    assert known == {
        first: damage.Ending(first, "refused", "error: …"),
        second: damage.Ending(second, "KILLED", "its process died"),
    }
    assert damage_record.table(known.values()).splitlines()[-1] == "| all | 2 | 0 | 0 | 0 | 1 | 1 |"


def test_every_case_names_a_command_and_a_kind() -> None:
    cases = damage.cases(KINDS)
    assert len(set(cases)) == len(cases) and {case.command for case in cases} == set(damage.COMMANDS)
