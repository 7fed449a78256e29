"""The tests of every term, tried themselves: on files that read each thing there is, and on files that get one thing wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.losses import checks, terms
from tests.written import written


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What is kept of a file by its name goes with it."""
    yield
    terms.about.cache_clear()
    terms.adapter.cache_clear()


def loss_file(name: str, body: str, reads: str = "('logits',)", teacher: str = "('logits',)", more: str = "") -> str:
    return f"READS, TEACHER = {reads}, {teacher}\n{more}\n\ndef {name}(student, teacher, labels):\n    return {body}\n"


#: A file for everything that a loss may read; none of them has a line elsewhere.
WRITTEN = {
    "of_members": loss_file(
        "of_members",
        "(student.logits - teacher.members.detach().mean(-2)).square().mean((-2, -1))",
        teacher="('members',)",
    ),
    "of_maps": loss_file(
        "of_maps",
        "sum((s.relu().mean((-3, -2, -1)) - t.relu().mean((-3, -2, -1)).detach()).square().mean(-1)"
        " for s, t in zip(student.maps.values(), teacher.maps.values()))",
        reads="('maps',)",
        teacher="('maps',)",
    ),
    "of_one_map": loss_file(
        "of_one_map", "student.map2.square().mean((-4, -3, -2, -1))", reads="('map2',)", teacher="()"
    ),
    "of_reduced": loss_file(
        "of_reduced",
        "sum((s.mean(-3) - t.detach()).square().mean((-3, -2, -1))"
        " for (s, t) in ((student.maps['map1'], teacher.reduced['map2']),))",
        reads="('maps',)",
        teacher="('maps',)",
        more="def reduced(maps, stage, student):\n    return maps.mean(-3)[..., : student['map1'][-1]] if stage == 'map2' else None",
    ),
    "of_constants": loss_file(
        "of_constants",
        "(student.logits - teacher.constants['mean'][..., None, :]).square().mean((-2, -1))",
        more="def constants(arrays, labels):\n    return {'mean': arrays.logits.mean(0)}",
    ),
    "of_own": loss_file(
        "of_own",
        "(student.logits - teacher.own.detach().amax(-1, keepdim=True)).square().mean((-2, -1))",
        teacher="('own',)",
    ),
    "of_labels": loss_file(
        "of_labels",
        "((labels >= 0) * (student.logits.gather(-1, labels.clamp_min(0)[..., None])[..., 0] - 1).square()).sum(-1)"
        " / (labels >= 0).sum(-1).clamp_min(1)",
        teacher="()",
    ),
    "of_draws": loss_file(
        "of_draws",
        "(student.draws * student.hidden[..., :2]).square().mean((-2, -1))",
        "('hidden',)",
        "()",
        "DRAWS = 2",
    ),
    "of_parts": loss_file(
        "of_parts",
        "(student.adapted['one'] - teacher.embedding.detach()).square().mean((-2, -1))"
        " + student.adapted['other'].square().mean((-2, -1))",
        reads="('hidden',)",
        teacher="('embedding',)",
        more="""
from torch import nn

class Two(nn.Module):
    def __init__(self, ours, theirs):
        super().__init__()
        self.one, self.other = nn.Linear(ours, theirs), nn.Linear(ours, 2, bias=False)
        self.norm = nn.BatchNorm1d(2, track_running_stats=True)

    def forward(self, outputs):
        return {"one": self.one(outputs.hidden), "other": self.other(outputs.hidden)}

def adapter(student, teacher):
    return Two(student["hidden"][0], teacher["embedding"][0])
""",
    ),
}

#: What a file may get wrong: its body, its further lines → the check that must not pass.
WRONG = {
    "leaks": ("(student.logits - teacher.logits).square().mean((-2, -1))", "", checks.nothing_flows_into_the_teacher),
    "mixes_runs": (
        "(student.logits / student.logits.std() - teacher.logits.detach()).square().mean((-2, -1))",
        "",
        checks.a_value_per_run_that_is_the_runs_own,
    ),
    "means_over_runs": (
        "(student.logits - teacher.logits.detach()).square().mean()",
        "",
        checks.a_value_per_run_that_is_the_runs_own,
    ),
    "divides_by_zero": (
        "(student.logits / student.logits.norm(dim=-1, keepdim=True) - teacher.logits.detach()).square().mean((-2, -1))",
        "",
        checks.hostile_inputs_stay_finite,
    ),
    "overflows": (
        "(student.logits.exp() - teacher.logits.detach().exp()).square().mean((-2, -1))",
        "",
        checks.hostile_inputs_stay_finite,
    ),
    "counts_places": (
        "((student.logits - teacher.logits.detach()).square().mean(-1)"
        " * torch.linspace(0, 1, student.logits.shape[-2], dtype=student.logits.dtype)).mean(-1)",
        "import torch",
        checks.the_order_of_clips_does_not_matter,
    ),
    "cuts_the_graph": (
        "((student.logits - teacher.logits.detach()) * student.logits.detach()).mean((-2, -1))",
        "",
        checks.the_gradient_is_that_of_the_value,
    ),
    "reads_more": (
        "(student.embedding.mean((-2, -1)) - teacher.logits.detach().mean((-2, -1))).square()",
        "",
        checks.a_value_per_run_that_is_the_runs_own,
    ),
    "reads_less": (
        "(student.hidden.mean((-2, -1)) - teacher.logits.detach().mean((-2, -1))).square()",
        "READS = ('hidden', 'embedding')",
        checks.nothing_flows_into_the_teacher,
    ),
    "least_elsewhere": (
        "(student.logits - 2 * teacher.logits.detach()).square().mean((-2, -1))",
        "",
        checks.a_student_that_equals_its_teacher_is_at_the_minimum,
    ),
    "needs_two": (
        "(student.logits - student.logits.mean(-2, keepdim=True)).square().mean((-2, -1))",
        "",
        checks.the_fewest_clips_are_those_that_teach,
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_that_is_added_is_tested_without_another_line(name: str, tmp_path: Path) -> None:
    with written(tmp_path, {f"losses/{name}.py": WRITTEN[name]}):
        for check in checks.CHECKS:
            check(name)


@pytest.mark.parametrize("name", WRONG)
def test_what_a_file_gets_wrong_is_seen(name: str, tmp_path: Path) -> None:
    body, more, check = WRONG[name]
    file = {f"losses/{name}.py": loss_file(name, body, more=more)}
    with written(tmp_path, file), pytest.raises((AssertionError, AttributeError, RuntimeError)):
        check(name)
