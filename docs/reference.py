"""Pages of all signatures and types of the Python API, as HTML files: ``make reference`` (pdoc; no server is needed)."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def write(folder: Path) -> Path:
    """Write the pages into ``folder``; its first one."""
    sys.path.insert(0, str(ROOT))
    import audio_rkd

    try:
        import pdoc
    except ImportError:
        sys.exit(
            f"error: pdoc is not installed in {sys.prefix}, and makes the reference pages; install it: make reference, or "
            f"{sys.executable} -m pip install -c constraints.txt -e '.[docs]'; docs/api.md needs none"
        )
    for name in audio_rkd.TYPES:  # they come when they are asked for, and pdoc asks the module's dictionary
        setattr(audio_rkd, name, getattr(audio_rkd, name))
    pdoc.render.configure(show_source=False, footer_text=f"audio-rkd {audio_rkd.__version__}")
    pdoc.pdoc("audio_rkd", output_directory=folder)
    return folder / "audio_rkd.html"


if __name__ == "__main__":
    print(f"page: {write(Path(sys.argv[1] if len(sys.argv) > 1 else 'reference'))}")
