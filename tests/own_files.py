"""One file each of what a user may add: losses, networks, a corpus, an experiment, a command, as a test writes them."""

from __future__ import annotations

#: What is trained.
LEARNING = {
    "losses/gap.py": """
def gap(student, teacher, labels):
    return (student.logits - teacher.logits.detach()).square().mean((-2, -1))
""",
    "losses/fitted.py": """
from torch import nn

READS = ("map2", "logits")
TEACHER = ("embedding",)

class Fit(nn.Module):
    def __init__(self, maps, width):
        super().__init__()
        self.conv = nn.Conv2d(maps, 4, 1)
        self.linear = nn.Linear(4, width)

    def forward(self, outputs):
        return self.linear(self.conv(outputs.map2).mean((-2, -1)))

def adapter(student, teacher):
    return Fit(student["map2"][0], teacher["embedding"][0])

def fitted(student, teacher, labels):
    apart = (student.adapted - teacher.embedding.detach()).square().mean((-2, -1))
    return apart + student.map2.square().mean((-4, -3, -2, -1)) / 10 + student.logits.square().mean((-2, -1)) / 10
""",
    "models/pooled.py": """
from torch import nn
from pipeline.models import Outputs

class pooled(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.conv = nn.Conv2d(shape[0], 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.linear = nn.Linear(6, classes)

    def forward(self, x):
        maps = self.norm(self.conv(x))
        embedding = maps.relu().mean((-2, -1))
        return Outputs(embedding=embedding, hidden=embedding, logits=self.linear(embedding), map1=maps)
""",
    "models/dropping.py": """
from torch import nn

def dropping(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(shape[0] * shape[1] * shape[2], classes))
""",
}


#: Beside these: all else that a user may add. The corpus' folds stand in the names of its files.
OTHERS = {
    "corpus/tones.py": """
from pipeline.corpus import Clip, checked

def tones(root):
    names = [(path, *path.stem.split("_")) for path in root.glob("*_*_*.wav")]
    clips = [Clip(path.name, path, int(fold), ("low", "high").index(kind), path.stem, None) for path, fold, kind, _ in names]
    return checked(root, "tones", ("low", "high"), (1, 2), 0.5, clips)
""",
    "experiments/handed-on.toml": """
title = "A small network learns from the teacher, and teaches a student"

[[step]]
name = "small"
network = "pooled"
mix = "gap,soft:0"
teacher = "teacher"

[[step]]
name = "student"
mix = "fitted:2,soft"
teacher = "small"
""",
    "commands/count_clips.py": """
'''How many clips a corpus has.'''

import click

from pipeline.commands.options import corpus_options

EXAMPLES = ("count-clips --dataset tones",)


@click.command()
@corpus_options
def count_clips(dataset, data):
    '''Count the clips.'''
    from pipeline.corpus import open_corpus

    click.echo(len(open_corpus(dataset, data).clips))
""",
}
