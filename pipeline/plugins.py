"""Losses, networks, corpora and experiments of a user's own, in folders of theirs: the same files as ours, found beside them.

A folder of plugins has the subfolders ``losses``, ``models``, ``corpus`` and ``experiments``, those of them that it needs. Which folders
there are is the variable ``AUDIO_RKD_PLUGINS`` of the environment, so that every process that is started has them too; ``rkd.toml`` sets it
for a command. The packages of these names extend their ``__path__`` by them when they are imported, and ``using`` while they are there.
"""

from __future__ import annotations

import importlib
import keyword
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from pathlib import Path

from pipeline import files, working_folder
from pipeline.errors import InputError

VARIABLE = "AUDIO_RKD_PLUGINS"

HERE = Path(__file__).parent

#: Subfolder → what a file in it is, and the beginning of the function that it defines.
KINDS = {
    "losses": ("loss", "def {}(student, teacher, labels)"),
    "models": ("network", "class or def {}(shape, classes)"),
    "corpus": ("data set", "def {}(folder)"),
    "experiments": ("experiment", ""),
}

#: How alike a folder's name must be to one of these to be a mistake, and no folder of something else.
NEAR = 0.75

#: Folders by which packages of this process are extended.
extended: set[str] = set()


def folders() -> list[Path]:
    """The folders of plugins that there are, absolute."""
    return [Path(text) for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]


def extend(kind: str, path: list[str]) -> None:
    """Let a package's ``__path__`` have the folders of its kind that the environment names, and none that it does not name any more."""
    wanted = [str(folder / kind) for folder in map(Path.absolute, folders()) if (folder / kind).is_dir()]
    for gone in [inner for inner in path if inner in extended and inner not in wanted]:
        path.remove(gone)
        forget(kind, Path(gone))
    for inner in wanted:
        if inner not in path:
            path.append(inner)
            extended.add(inner)
    importlib.invalidate_caches()


def forget(kind: str, place: Path) -> None:
    """Modules of a folder that is not looked into any more are not there any more."""
    package = f"pipeline.{kind}"
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.startswith(f"{package}.") and file and Path(file).parent == place:
            del sys.modules[name]
            if hasattr(parent := sys.modules[package], stem := name.rpartition(".")[2]):
                delattr(parent, stem)


def refresh(*, anew: bool = False) -> None:
    """Let the packages that are imported look into the folders that there are now. ``anew``: their files are read again."""
    for kind in KINDS:
        if package := sys.modules.get(f"pipeline.{kind}"):
            for inner in extended if anew else ():
                forget(kind, Path(inner))
            extend(kind, package.__path__)  # type: ignore[arg-type]


@contextmanager
def using(named: Sequence[str], source: str) -> Iterator[None]:
    """While the block runs, the plugins of these folders are there, in this process and those it starts. ``source``: who names them.

    ``InputError``, one line, for a folder that is none, and for a file in it that cannot be what its place says.
    """
    for text in named:
        check(Path(text), source)
    require_different([Path(text) for text in named])
    text = os.pathsep.join(str(Path(text).absolute()) for text in named)
    try:
        with working_folder.variable_set("plugins", text, source) if named else nullcontext():
            refresh()
            yield
    finally:
        refresh()


def check(folder: Path, source: str) -> None:
    """``InputError`` for a folder that is not one of plugins, and for a file that cannot be the plugin its place says."""
    if not folder.is_dir():
        reason = "is a file" if folder.exists() else "no such folder"
        raise InputError(f"{source}: plugins: {folder}: {reason}; expected one with {places(folder)} in it")
    for entry in sorted(folder.iterdir()):
        if entry.is_file() and entry.suffix in (".py", ".toml"):
            raise InputError(f"{entry}: expected it in one of {places(folder)}: the place says what it is")
        if entry.is_dir() and entry.name not in KINDS and (near := get_close_matches(entry.name, KINDS, 1, NEAR)):
            raise InputError(f"{entry}: unknown kind of plugin, did you mean {near[0]!r}? expected {places(folder)}")
    if not any((folder / kind).is_dir() for kind in KINDS):
        raise InputError(f"{source}: plugins: {folder}: nothing in it; expected {places(folder)}")
    for kind, path in plugins_of(folder):
        check_file(kind, path)


def places(folder: Path) -> str:
    return ", ".join(f"{folder / kind}/" for kind in KINDS)


def plugins_of(folder: Path) -> list[tuple[str, Path]]:
    """(kind, file) of all plugins in a folder; files whose names begin with _ are what others import."""
    return [
        (kind, path)
        for kind in KINDS
        for path in sorted((folder / kind).glob("*.toml" if kind == "experiments" else "*.py"))
        if path.name[0] not in "._"
    ]


def check_file(kind: str, path: Path) -> None:
    name, (word, start) = path.stem, KINDS[kind]
    if (HERE / kind / path.name).exists() or (HERE / kind / name).is_dir():
        raise InputError(
            f"{path}: audio-rkd has a file {kind}/{path.name} itself; expected another name for this {word}"
        )
    if kind == "experiments":
        return
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"{path}: expected a file's name of letters, digits and _, for the {word} is called so")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}); expected Python in UTF-8") from None
    kinds = "def|class" if kind == "models" else "def"
    expected = f"expected {start.format(name)}"
    begun = re.search(rf"^({kinds})[ \t]+{name}\b.*", text, re.MULTILINE)
    if not begun:
        raise InputError(f"{path}: no {name} in it; {expected} (or the name _{path.name}, of what others import)")
    line = f"{path}, line {text.count(chr(10), 0, begun.start()) + 1}: {begun[0].strip()!r:.80}"
    if re.match(rf"class[ \t]+{name}[ \t]*(\([ \t]*\)[ \t]*)?:", begun[0]):
        raise InputError(
            f"{line}: a class without a base; expected class {name}(torch.nn.Module), or def {name}(shape, classes)"
        )
    if not re.match(rf"{begun[1]}[ \t]+{name}[ \t]*\(", begun[0]):
        raise InputError(f"{line}: no Python; {expected}:")


def require_different(named: Sequence[Path]) -> None:
    """``InputError`` where two folders have a plugin of one name."""
    seen: dict[tuple[str, str], Path] = {}
    for folder in named:
        for kind, path in plugins_of(folder):
            other = seen.setdefault((kind, path.name), path)
            if other != path:
                raise InputError(f"{path} and {other} have one name; expected different ones")


def has(kind: str, name: str) -> bool:
    """Whether a name is one of a user's own."""
    return any((folder / kind / f"{name}.py").is_file() for folder in folders())


def digests(used: Sequence[tuple[str, str]]) -> dict[str, str]:
    """``losses/gap.py`` → SHA-256, of those of (kind, name) that are plugins."""
    there = {(kind, path.stem): path for folder in folders() for kind, path in plugins_of(folder)}
    return {
        f"{kind}/{path.name}": files.sha256(path)
        for kind, name in dict.fromkeys(used)
        if (path := there.get((kind, name)))
    }


def plugin_of(file: str) -> tuple[str, str] | None:
    """(kind, what it is) of a file that is in a folder of plugins."""
    path = Path(file)
    kind = path.parent.name
    if kind in KINDS and path.absolute().parent.parent in map(Path.absolute, folders()):
        return kind, KINDS[kind][0]
    return None
