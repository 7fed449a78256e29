"""The command line, ``audio-rkd``: the group. Its commands are the files of ``pipeline.commands``."""

from __future__ import annotations

import pipeline.processes.shadowing
import pipeline.system  # noqa: F401 (then: it ends where this cannot run)

# isort: split
from pipeline import signals

with signals.silent():
    import click

    from pipeline import __version__
    from pipeline.commands.group import Group


@click.group(
    cls=Group,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 110,
        "show_default": True,
    },
)
@click.version_option(__version__, prog_name="audio-rkd")
def main() -> None:
    """Compress audio classifiers by relational knowledge distillation.

    The stages in order: features, teacher, distill, report. Each does only what is missing, can be stopped at any
    time, and goes on with the same command. COMMAND --help says more, with examples.
    """


if __name__ == "__main__":
    main()
