"""What ``--help`` says beside the docstrings: commands by what they are for, each in a few words and with calls to copy."""

from __future__ import annotations

import click

#: Title → command → (a few words, examples), in the order of use.
SECTIONS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "First steps": {
        "status": ("Where things stand, and the next command", ("status", "status --dataset esc50")),
        "doctor": ("Is everything there and working?", ("doctor", "doctor --json", "doctor --torch cuda")),
    },
    "The stages": {
        "data": ("Fetch a data set", ("data --dataset urbansound8k", "data --dataset esc50 --yes")),
        "verify": ("Is a data set whole?", ("verify", "verify --dataset folder --data my-clips")),
        "features": (
            "Stage one: five LibROSA features of every clip",
            (
                "features",
                "features --dataset esc50 --jobs 4",
                "features --dataset folder --data my-clips --on-error skip",
            ),
        ),
        "teacher": (
            "Stage two: a teacher per held-out fold",
            (
                "teacher",
                "teacher --folds 1,2 --device cuda",
                "teacher --set teacher.epochs=20 --log tensorboard",
            ),
        ),
        "distill": (
            "Stage three: students under any mix of losses",
            (
                "distill --losses soft --losses angle,area",
                "distill --losses angle:40,area:20,hinton@T=1.5 --seeds 0-4",
                "distill --losses angle,area --explain",
            ),
        ),
        "table3": (
            "The paper's Table 3, whatever is missing of it",
            ("table3 --seeds 0-2", "table3 --dataset esc50 --folds 1,2"),
        ),
        "ban": (
            "Born-again generations: students that teach each other",
            (
                "ban --losses none --losses angle",
                "ban --model student --generations 2 --folds 1-3",
                "ban --teacher runs/CORPUS/teacher-resnet18-default-1a2b3c4d",
            ),
        ),
        "table4": (
            "The paper's Table 4: CIFAR-100",
            ("table4 --losses none --losses angle --seeds 0-2", "table4 --preset strong --device cuda"),
        ),
    },
    "Looking at what there is": {
        "report": (
            "The table of all finished runs, and a page",
            ("report", "report --losses soft --losses angle,area", "report --dataset synthetic --no-page"),
        ),
        "runs": (
            "The runs that there are, a line each",
            ("runs", "runs --mix angle,area --fold 1-3", "runs --status unfinished --json"),
        ),
        "compare": (
            "What differs between two runs or mixes, and by how much",
            ("compare soft angle,area", "compare teacher hinton --corpus esc50", "compare RUN OTHER-RUN"),
        ),
        "ensemble": (
            "The accuracy of runs that vote, a fold a line",
            ("ensemble RUN OTHER-RUN", "ensemble runs/CORPUS/student-cnn2-default-1a2b3c4d/angle50+soft1"),
        ),
        "follow": (
            "Trainings under way, live in one line",
            ("follow", "follow runs/CORPUS --every 10", "follow --once --log tensorboard"),
        ),
        "inspect": (
            "What is in a fold's file; a clip as a picture",
            ("inspect", "inspect --fold 3 --verify", "inspect --clip 100032-3-0-0.wav"),
        ),
        "retrieval": (
            "Recall@K of the held-out embeddings",
            ("retrieval", "retrieval --layer hidden --losses angle,area"),
        ),
        "rerun": (
            "A run once more: the same bit for bit?",
            (
                "rerun runs/CORPUS/teacher-resnet18-default-1a2b3c4d/fold1-seed0",
                "rerun RUN --to /tmp/again --device cpu",
            ),
        ),
    },
    "Using a run": {
        "predict": (
            "What a run says of sounds",
            (
                "predict RUN street.wav",
                "predict RUN OTHER-RUN sounds/ --top 1 --csv",
                "predict RUN --microphone",
            ),
        ),
        "export": ("A run as ONNX, float and int8", ("export", "export RUN", "export --dataset esc50")),
        "cost": ("What a clip costs: teacher, student, int8", ("cost", "cost RUN --threads 2")),
    },
}


class Sections(click.Group):
    """A group whose help is ``SECTIONS``."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        for commands in SECTIONS.values():
            if (name or cmd.name) in commands:
                cmd.short_help, calls = commands[str(name or cmd.name)]
                cmd.epilog = "\n".join(["\b", "Examples:", *(f"  audio-rkd {call}" for call in calls)])
        super().add_command(cmd, name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, words) for name, (words, _) in commands.items()])
