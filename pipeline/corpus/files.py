"""Which files are sounds: one list of formats and one walk, for corpora, ``verify`` and ``predict``."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from pipeline.config import InputError
from pipeline.extras import is_installed, media_remedy

#: Ends of the names of sound files: what libsndfile reads. Capitals count as small letters.
SUFFIXES = tuple(
    ".wav .wave .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .caf .w64 .rf64 .voc .sph .nist".split()
)

#: Ends of the names of what FFmpeg reads, with the extra ``media``: what phones and cameras record, and films with sound.
MEDIA = tuple(
    ".m4a .m4b .m4r .mp4 .m4v .mov .qt .3gp .3g2 .aac .adts .amr .awb .wma .wmv .asf .webm .weba .mka .mkv .avi".split()
)

#: Ends of the names of sounds in formats that are not read.
UNREAD = tuple(
    (
        ".alac .ac3 .eac3 .dts .ape .wv .mpc .tta .tak .shn .spx .mp2 .mpga .ra .dsf .dff .aax .iff .8svx .pcm .gsm "
        ".mts .m2ts .flv .mpg .mpeg"
    ).split()
)

#: Folders, in small letters, that are the system's: of the Mac's archiver, repair, recycle bins, Windows, network disks.
SYSTEMS = frozenset(
    ("__macosx", "lost+found", "$recycle.bin", "#recycle", "@recycle", "system volume information", "@eadir")
)


def is_sound(name: str) -> bool:
    """Whether a file is read as a sound, by the end of its name; those of ``MEDIA`` where the extra is installed."""
    return name.lower().endswith(SUFFIXES) or (is_media(name) and is_installed("av"))


def is_media(name: str) -> bool:
    return name.lower().endswith(MEDIA)


def looks_like_sound(name: str) -> bool:
    """Also in a format that is not read."""
    return name.lower().endswith((*SUFFIXES, *MEDIA, *UNREAD))


def formats() -> str:
    """The ends of names that are read, for people."""
    return ", ".join((*SUFFIXES, *(MEDIA if is_installed("av") else ())))


def remedy(names: Collection[str]) -> str:
    """For files that are not read, what to do where the extra reads some of them; "" where it does not, or is there."""
    wanted = [] if is_installed("av") else sorted(name for name in names if is_media(name))
    if not wanted:
        return ""
    which = f"{wanted[0]} needs" if len(wanted) == 1 else f"{len(wanted)} of them, such as {wanted[0]}, need"
    return f"; {which} the extra media: {media_remedy(wanted[0])}"


def hidden(name: str) -> bool:
    """Whether a file or folder is the file system's, or put out of sight: ".x", "._x.wav", "__MACOSX", "lost+found"."""
    return name.startswith(".") or name.lower() in SYSTEMS


def walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Every file below ``folder`` that is not ``hidden``, and whether it is regular (a link counts as what it leads to).

    In no particular order. Folders that are links are looked into as well, but no folder twice and none that ``folder``
    lies in, so that a link to a folder above neither loops nor brings in what lies beside; a folder's own place goes
    before links to it. Nothing is opened: a named pipe does no harm. ``InputError`` for a folder that cannot be read.
    """
    folders, links = [folder], list[Path]()
    seen = {identity for above in Path(os.path.realpath(folder)).parents if (identity := place_of(above))}
    while folders or links:
        here = folders.pop() if folders else links.pop()
        try:
            state = here.stat()
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            paths = sorted(here.iterdir(), reverse=True)
        except OSError as error:
            raise InputError(f"{here}: {error.strerror}; expected a folder that can be read") from None
        for path in paths:
            if hidden(path.name):
                continue
            if path.is_dir():
                (links if path.is_symlink() else folders).append(path)
            else:
                yield path, path.is_file()


def place_of(folder: Path) -> tuple[int, int] | None:
    """Device and inode; None for a folder that this user may not look at."""
    try:
        state = folder.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def sounds(folder: Path) -> list[Path]:
    """The sound files below a folder, in all its folders, sorted; regular files only. See ``walk``."""
    return sorted(path for path, regular in walk(folder) if regular and is_sound(path.name))


def unread(folder: Path) -> list[str]:
    """Names of the files below a folder that look like sounds in a format that is not read."""
    return sorted(
        path.name
        for path, regular in walk(folder)
        if regular and looks_like_sound(path.name) and not is_sound(path.name)
    )


def left_out(root: Path, taken: Collection[Path]) -> list[Path]:
    """Files below ``root`` that look like sounds and are not among ``taken``, sorted: in a format that is not read, in a
    place where no clip is looked for, or not regular. Folders of ``root`` that begin with "_" are put aside on purpose.
    """
    return sorted(
        path
        for path, _ in walk(root)
        if looks_like_sound(path.name) and path not in taken and path.relative_to(root).parts[0][0] != "_"
    )
