"""Files of the working folder that have the name of a module of Python's or of a library, and would be taken for it.

``python cli.py`` looks for modules in its own folder first, and so do the processes that it starts in the working folder.
``cli`` imports this module before anything else: it must not import what such a file could hide.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

#: Folder of the project, and what of it may have the name of an installed module: itself.
PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
OWN = ("audio_rkd", "cli", "pipeline", "tests", "bench", "examples")

#: Of files that are modules.
ENDINGS = (".py", ".pyc", ".so")


def hiding(folder: "str | Path") -> list[str]:
    """The files and packages in a folder that hide a module of Python's or an installed one."""
    folder = os.path.abspath(folder)  # noqa: PTH100
    try:
        entries = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return []
    elsewhere = [path for path in sys.path if os.path.abspath(path or ".") not in (folder, PROJECT)]  # noqa: PTH100
    paths = []
    for entry in entries:
        path = os.path.join(folder, entry)  # noqa: PTH118
        package = os.path.isfile(os.path.join(path, "__init__.py"))  # noqa: PTH113, PTH118
        name = entry.partition(".")[0]
        if not (package or entry.endswith(ENDINGS)) or not name.isidentifier():
            continue
        if folder == PROJECT and name in OWN:
            continue
        if name in sys.stdlib_module_names or installed(name, elsewhere):
            paths.append(path)
    return paths


def installed(name: str, path: list[str]) -> bool:
    """Whether a module is found in ``path``. (Python's own finder is at hand without an import.)"""
    finder = next(finder for finder in sys.meta_path if getattr(finder, "__name__", "") == "PathFinder")
    module_spec = finder.find_spec(name, path)
    return module_spec is not None and module_spec.origin is not None


def refuse() -> None:
    """End in one line where a folder that is searched before Python's own has such a file."""
    library = os.path.dirname(os.__file__)  # noqa: PTH120
    before = sys.path[: sys.path.index(library)] if library in sys.path else sys.path[:1]
    here = os.path.abspath(".")  # noqa: PTH100
    for folder in dict.fromkeys(os.path.abspath(path) for path in before):  # noqa: PTH100
        if folder in (here, PROJECT) and (paths := hiding(folder)):
            raise SystemExit(
                f"error: {paths[0]} is taken for the module {line_name(paths[0])} that this program needs; "
                "expected no file of that name in this folder: rename it, or move it elsewhere"
            )


def line_name(path: str) -> str:
    return os.path.basename(path).partition(".")[0]  # noqa: PTH119


class OwnFolderHidden:
    """While it lasts, processes that are started do not look for modules in the working folder.

    A line on stderr names what is there and hides a module, for other programs will stumble over it.
    """

    told = False

    def __enter__(self) -> None:
        self.before = os.environ.get("PYTHONSAFEPATH")
        os.environ["PYTHONSAFEPATH"] = "1"
        paths = hiding(".")
        if paths and not OwnFolderHidden.told:
            OwnFolderHidden.told = True
            print(
                f"note: {paths[0]} has the name of the module {line_name(paths[0])}; it is not taken for it here, but "
                "rename it: other programs will",
                file=sys.stderr,
                flush=True,
            )

    def __exit__(self, *_: object) -> None:
        if self.before is None:
            os.environ.pop("PYTHONSAFEPATH", None)
        else:
            os.environ["PYTHONSAFEPATH"] = self.before


refuse()
