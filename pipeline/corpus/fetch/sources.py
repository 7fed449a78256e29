"""Where the data sets are published, under which licence, and how one tells that all of it came."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config import InputError


@dataclass(frozen=True)
class Source:
    """One published archive."""

    name: str
    url: str
    filename: str
    """Name of the archive in the data folder."""
    size: int
    """Bytes to download (about, where there is no ``md5``)."""
    unpacked: int
    """Bytes on the disk once unpacked (about); 0: the archive is used packed."""
    licence: str
    citation: str
    folders: tuple[str, ...]
    """Names in the data folder under which it is looked for; the first is the one written."""
    md5: str = ""
    """Of the archive; empty where its server has no fixed one."""
    files: tuple[tuple[str, str], ...] = ()
    """Files inside the folder with their MD5, for archives without a fixed one."""
    clips: int = 0
    """Number of ``audio/*.wav`` inside the folder, for archives without a fixed MD5."""


_ESC50 = Source(
    name="ESC-50",
    # GitHub packs this archive anew from time to time: several MD5 of the same commit are in use in public
    # code. So the commit is pinned and the files in it are checked (a .zip has a CRC of each besides).
    url="https://github.com/karolpiczak/ESC-50/archive/33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6.zip",
    filename="ESC-50.zip",
    size=647_000_000,
    unpacked=890_000_000,
    licence="CC BY-NC 3.0: no commercial use (the clips of ESC-10: CC BY 3.0)",
    citation="K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015",
    folders=("ESC-50", "ESC-50-master"),
    files=(("meta/esc50.csv", "54a0d0055a10bb7df84ad340a148722e"),),
    clips=2000,
)

#: By data set; ESC-10 is a part of ESC-50.
SOURCES = {
    "urbansound8k": Source(
        name="UrbanSound8K",
        url="https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz?download=1",
        filename="UrbanSound8K.tar.gz",
        size=6_023_741_708,
        unpacked=7_100_000_000,
        licence="CC BY-NC 3.0: no commercial use",
        citation="J. Salamon, C. Jacoby, J. P. Bello, A Dataset and Taxonomy for Urban Sound Research, "
        "ACM Multimedia 2014",
        folders=("UrbanSound8K",),
        md5="9aa69802bbf37fb986f71ec1483a196e",
    ),
    "esc50": _ESC50,
    "esc10": _ESC50,
    "cifar100": Source(
        name="CIFAR-100",
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        filename="cifar-100-python.tar.gz",
        size=169_001_437,
        unpacked=0,
        licence="none stated by its authors, who ask to be cited",
        citation="A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        folders=("cifar-100-python.tar.gz", "cifar-100-python"),
        md5="eb9058c3a382ffc7106e4002c42a8d85",
    ),
}


def source(dataset: str) -> Source:
    """The entry of ``SOURCES``; ``InputError`` where there is none."""
    if dataset not in SOURCES:
        raise InputError(f"no download for data set {dataset!r}; expected one of {', '.join(SOURCES)}")
    return SOURCES[dataset]


def gigabytes(size: float) -> str:
    """``size`` bytes for people, in decimal units as publishers and disks count."""
    for unit, factor, digits in (("GB", 1e9, 1), ("MB", 1e6, 0)):
        if size >= factor:
            return f"{size / factor:.{digits}f} {unit}"
    return f"{size / 1e3:.0f} kB"


def notice(source: Source, url: str | None = None) -> str:
    """What one should know before the download: size, origin, licence and whom to cite, a line each."""
    disk = f", {gigabytes(source.unpacked)} on the disk once unpacked" if source.unpacked else ""
    check = f"MD5 {source.md5}" if source.md5 else "no fixed checksum, its server packs it anew; the files are checked"
    about = "" if source.md5 else "about "
    return (
        f"{source.name}: {about}{gigabytes(source.size)} to download{disk}\n"
        f"  from     {url or source.url}\n"
        f"  check    {check}\n"
        f"  licence  {source.licence}\n"
        f"  cite     {source.citation}"
    )
