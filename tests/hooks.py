"""Loss files and networks that ask for each thing there is to ask for, and what a run in a pack and alone have in common."""

from __future__ import annotations

import torch

from pipeline.training import Trained
from tests.trainings import assert_equal

LAYOUTS = ("loop", "vmap")

#: Float32: a live teacher's batch is another one than that of stored outputs, so the last digits of sums may differ.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}

#: Of what a loss may ask of its student: stage maps, adapters of several parts, draws.
STUDENTS = {
    "losses/staged.py": """
from torch import nn

READS = ("maps",)
TEACHER = ("maps",)

class Pairs(nn.Module):
    def __init__(self, student, teacher):
        super().__init__()
        self.parts = nn.ModuleDict({
            name: nn.Sequential(nn.Conv2d(student[name][0], teacher[name][0], 1, bias=False), nn.BatchNorm2d(teacher[name][0]))
            for name in student if name in teacher and name.startswith("map")
        })

    def forward(self, outputs):
        return {name: part(outputs.maps[name].relu()) for name, part in self.parts.items()}

def adapter(student, teacher):
    return Pairs(student, teacher)

def staged(student, teacher, labels):
    assert list(student.maps) == ["map1", "map2"] == list(teacher.maps)[:2] == list(student.adapted)
    apart = [student.adapted[name].mean((-2, -1)) - teacher.maps[name].relu().mean((-2, -1)) for name in student.adapted]
    return sum(each.square().mean((-2, -1)) for each in apart)
""",
    "losses/drawing.py": """
READS, TEACHER, DRAWS = ("logits",), (), 3

def drawing(student, teacher, labels, *, p=1.0):
    assert student.draws.shape == (*student.logits.shape[:-1], 3)
    return (student.draws.mean(-1) * student.logits.square().mean(-1)).mean(-1)
""",
    "losses/pairing.py": """
READS, TEACHER, DRAWS = ("embedding",), (), "batch"

def pairing(student, teacher, labels):
    e = student.embedding
    assert student.draws.shape == (*e.shape[:-1], e.shape[-2])
    return (student.draws * (e @ e.transpose(-1, -2)).tanh()).mean((-2, -1))
""",
    "losses/halfway.py": """
READS, TEACHER, DRAWS = (), (), 0.5

def halfway(student, teacher, labels):
    return student.logits.mean((-2, -1))
""",
    "models/mapless.py": """
from torch import nn
from pipeline.models import Outputs

class mapless(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.linear = nn.Linear(shape[0] * shape[1] * shape[2], classes)

    def forward(self, x):
        x = x.flatten(1)
        return Outputs(embedding=x, hidden=x, logits=self.linear(x))
""",
}

#: Of what it may ask of its teacher: reductions of maps, constants, members.
TEACHERS = {
    "losses/staged.py": STUDENTS["losses/staged.py"],
    "models/mapless.py": STUDENTS["models/mapless.py"],
    "losses/attending.py": """
from pipeline.losses.needs import reduced_maps

READS = TEACHER = ("maps",)

def reduced(map, *, power=2.0):
    return map.relu().pow(power).mean(-3)

def attending(student, teacher, labels, *, power=2.0, sharpness=1.0):
    kept = reduced_maps(reduced, student, teacher, power=power)
    mine = {stage: value.relu().pow(power).mean(-3) for stage, value in student.maps.items()}
    apart = [mine[stage].mean((-2, -1)).clamp(-9, 9) - kept[stage].mean((-2, -1)).clamp(-9, 9) for stage in mine]
    return sum(sharpness * each.square().mean(-1) for each in apart)
""",
    "losses/signed.py": """
from pipeline.losses.needs import reduced_maps

READS, TEACHER = ("map2",), ("maps",)

def reduced(map, stage, student, teacher):
    assert student["map2"] and teacher[stage] == tuple(map.shape[-3:])
    return map > 0 if stage == "map2" else None

def signed(student, teacher, labels):
    kept = reduced_maps(reduced, student, teacher)
    assert list(kept) == ["map2"]
    on = kept["map2"].float().mean((-3, -2, -1))
    return (student.map2.mean((-3, -2, -1)).clamp(-9, 9) - on).square().mean(-1)
""",
    "losses/centred.py": """
import torch
from pipeline.losses.needs import parts_of

READS, TEACHER = ("logits",), ("embedding", "maps")

def reduced(map, stage):
    return map.mean((-2, -1)) if stage == "map1" else None

def constants(arrays, labels):
    total, count = 0.0, 0
    for part in parts_of(arrays):
        below = part["map1"].clamp(max=0)
        total, count = total + below.sum((0, 2, 3)), count + len(below)
    centres = torch.stack([arrays.embedding[labels == c].mean(0) for c in range(3)])
    assert len(labels) == len(arrays["map1"]) == count
    return {"margins": total / count, "centres": centres}

def centred(student, teacher, labels):
    margins, centres = teacher.constants["margins"], teacher.constants["centres"]
    near = (teacher.embedding.unsqueeze(-2) - centres.unsqueeze(-3)).square().mean(-1)
    push = (teacher.reduced["map1"] - margins.unsqueeze(-2)).square().mean((-2, -1)).clamp(-9, 9)
    return (student.logits.clamp(-9, 9) + near.clamp(-9, 9)).square().mean((-2, -1)) + push * student.logits.clamp(-9, 9).mean((-2, -1))
""",
    "losses/membered.py": """
READS, TEACHER = ("logits",), ("members",)

def membered(student, teacher, labels):
    return (student.logits.unsqueeze(-2) - teacher.members).square().mean((-3, -2, -1))
""",
    "losses/flocking.py": """
READS, TEACHER, DRAWS = ("map1",), ("members", "maps"), 1

def reduced(map):
    return map.mean(-3).mean((-2, -1))

def flocking(student, teacher, labels):
    kept = teacher.reduced["map1"]
    chosen = (student.draws * kept.shape[-1]).long()
    return (student.map1.mean((-3, -2, -1)).clamp(-9, 9) - kept.gather(-1, chosen)[..., 0]).square().mean(-1)
""",
}


def assert_alike(mine: Trained, alone: Trained, layout: str) -> None:
    """Of a run in a pack and alone: bit for bit where runs are computed one by one."""
    assert mine.failure is None and mine.adapters.keys() == alone.adapters.keys()
    if layout == "loop":
        assert_equal(mine, alone)
    for part in ("state", "adapters"):
        for name, value in getattr(alone, part).items():
            if layout == "loop":
                assert torch.equal(getattr(mine, part)[name], value), name
            torch.testing.assert_close(getattr(mine, part)[name], value, rtol=2e-4, atol=1e-5)
