"""Downloads from a real local server that cuts, refuses and serves wrong bytes, and archives that must not be unpacked."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.commands.data import data
from pipeline.config import InputError
from pipeline.corpus import fetch as module
from pipeline.corpus.fetch import (
    SOURCES,
    BadArchive,
    Source,
    fetch,
    notice,
    obtain,
    source,
)
from pipeline.corpus.fetch.unpack import unpack
from tests.servers import Site, closed_port, serving

ROOT = Path(__file__).resolve().parents[2]
PAUSES = (0.0, 0.0)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def tar_gz(members: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] = lambda _: None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            change(info)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


NOISE = np.random.default_rng(0).bytes(900_000)  # does not compress: the archive is about as large
MEMBERS = {"Tiny/metadata/Tiny.csv": b"a,b\n1,2\n", "Tiny/audio/fold1/a.wav": NOISE}
ARCHIVE = tar_gz(MEMBERS)
TINY = Source(
    name="Tiny",
    url="http://127.0.0.1:9/Tiny.tar.gz",
    filename="Tiny.tar.gz",
    size=len(ARCHIVE),
    unpacked=1_000_000,
    licence="CC BY 4.0",
    citation="A. Author, Tiny, 2020",
    folders=("Tiny",),
    md5=hashlib.md5(ARCHIVE).hexdigest(),
)


def get(site: Site, root: Path, tiny: Source = TINY, told: list[str] | None = None) -> Path:
    with serving(site):
        lines: list[str] = [] if told is None else told
        return obtain(tiny, root, url=site.url, say=lines.append, pauses=PAUSES)


def assert_whole(place: Path) -> None:
    files = {str(p.relative_to(place.parent)): p.read_bytes() for p in place.rglob("*") if p.is_file()}
    assert files == MEMBERS
    assert [p.name for p in place.parent.iterdir()] == [place.name]  # no part, temporary folder or archive


def test_a_plain_download_is_unpacked_and_told(tmp_path: Path) -> None:
    messages: list[str] = []
    site = Site(ARCHIVE)
    assert_whole(get(site, tmp_path / "new" / "data", told=messages))
    assert site.asked == [None]
    assert site.agents[0] is not None and site.agents[0].startswith("audio-rkd/")
    assert messages[0].splitlines()[0] == "Tiny: 901 kB to download, 1 MB on the disk once unpacked"
    assert "CC BY 4.0" in messages[0] and site.url in messages[0] and "A. Author" in messages[0]


def test_a_cut_download_goes_on_where_it_was(tmp_path: Path) -> None:
    site = Site(ARCHIVE, cuts=[300_000, 0, 350_000])
    assert_whole(get(site, tmp_path))
    assert site.asked == [None, "bytes=300000-", "bytes=300000-", "bytes=650000-"]
    assert site.sent == len(ARCHIVE)  # no byte twice


def test_a_cut_download_goes_on_in_the_next_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no complete download .*400,000 bytes are kept"):
        get(Site(ARCHIVE, cuts=[400_000, 0, 0]), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["Tiny.tar.gz.part"]
    site = Site(ARCHIVE)
    assert_whole(get(site, tmp_path))
    assert site.asked == ["bytes=400000-"]


def test_a_killed_process_is_resumed(tmp_path: Path) -> None:
    """A real process, stopped by SIGKILL in mid-download."""
    code = (
        "import sys; from pathlib import Path; from pipeline.corpus.fetch.download import download\n"
        "download(sys.argv[1], Path(sys.argv[2]))"
    )
    site = Site(ARCHIVE, stall=600_000)
    part = tmp_path / "Tiny.tar.gz.part"
    with serving(site):
        child = subprocess.Popen([sys.executable, "-c", code, site.url, str(tmp_path / "Tiny.tar.gz")], cwd=ROOT)
        until = time.monotonic() + 120
        while not (part.is_file() and part.stat().st_size > 100_000) and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        have = part.stat().st_size
        site.stall = 0
        assert 100_000 < have < len(ARCHIVE)
        assert_whole(obtain(TINY, tmp_path, url=site.url, say=lambda _: None, pauses=PAUSES))
    assert site.asked == [None, f"bytes={have}-"]


def test_a_server_without_ranges_starts_over(tmp_path: Path) -> None:
    site = Site(ARCHIVE, ranges=False, cuts=[300_000, 100_000])
    assert_whole(get(site, tmp_path))
    assert site.asked == [None, "bytes=300000-", "bytes=100000-"]


def test_progress_is_what_counts_not_the_number_of_attempts(tmp_path: Path) -> None:
    site = Site(ARCHIVE, cuts=[90_000] * 8)
    assert_whole(get(site, tmp_path))
    assert len(site.asked) == 9 > 1 + len(PAUSES)


def test_a_server_that_always_cuts_at_the_same_byte_is_given_up(tmp_path: Path) -> None:
    site = Site(ARCHIVE, ranges=False, cuts=[50_000] * 20)
    with pytest.raises(InputError, match="no complete download"):
        get(site, tmp_path)
    assert len(site.asked) == 1 + len(PAUSES)


def test_an_archive_without_length_that_is_cut(tmp_path: Path) -> None:
    site = Site(ARCHIVE, ranges=False, chunked=True, cuts=[200_000])
    assert_whole(get(site, tmp_path))
    assert len(site.asked) == 2


def test_a_gz_called_a_compressed_transfer_is_kept_as_it_is(tmp_path: Path) -> None:
    assert_whole(get(Site(ARCHIVE, headers={"Content-Encoding": "gzip"}), tmp_path))


@pytest.mark.parametrize(("kept", "asked"), [(len(ARCHIVE), 1), (len(ARCHIVE) + 5, 2)])
def test_a_part_that_is_whole_or_too_long(tmp_path: Path, kept: int, asked: int) -> None:
    (tmp_path / "Tiny.tar.gz.part").write_bytes((ARCHIVE + b"extra")[:kept])
    site = Site(ARCHIVE)
    assert_whole(get(site, tmp_path))
    assert len(site.asked) == asked


def test_another_range_than_asked_for_is_not_appended(tmp_path: Path) -> None:
    site = Site(ARCHIVE, cuts=[300_000], wrong_span=True)
    assert_whole(get(site, tmp_path))
    assert site.asked == [None, "bytes=300000-", None]


def test_errors_of_the_server_are_tried_again_and_of_the_address_are_not(tmp_path: Path) -> None:
    site = Site(ARCHIVE, statuses=[503, 429])
    assert_whole(get(site, tmp_path / "a"))
    site = Site(ARCHIVE, statuses=[404, 404])
    with pytest.raises(InputError, match=r"HTTP 404.*by hand, put it at .*Tiny\.tar\.gz") as caught:
        get(site, tmp_path / "b")
    assert len(site.asked) == 1 and "\n" not in str(caught.value)


def test_no_network_says_what_to_do(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{closed_port()}/x"
    with pytest.raises(InputError, match=rf"Check the network.*download {url} by hand") as caught:
        obtain(TINY, tmp_path, url=url, say=lambda _: None, pauses=PAUSES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "data/x.zip", "http://"])
def test_addresses_that_are_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="expected an http or https address"):
        obtain(TINY, tmp_path, url=url, say=lambda _: None, pauses=PAUSES)


def test_wrong_bytes_are_set_aside(tmp_path: Path) -> None:
    wrong = bytearray(ARCHIVE)
    wrong[1000] ^= 1
    digest = hashlib.md5(wrong).hexdigest()
    with pytest.raises(InputError, match=f"MD5 {digest}, expected {TINY.md5}; set aside as Tiny.tar.gz.bad"):
        get(Site(bytes(wrong)), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["Tiny.tar.gz.bad"]
    (tmp_path / "Tiny.tar.gz.bad").unlink()
    assert_whole(get(Site(ARCHIVE), tmp_path))


def test_an_archive_put_there_by_hand_is_taken_and_kept(tmp_path: Path) -> None:
    (tmp_path / "Tiny.tar.gz").write_bytes(ARCHIVE)
    messages: list[str] = []
    place = obtain(TINY, tmp_path, url="http://127.0.0.1:9/", say=messages.append, pauses=())
    assert (place / "audio/fold1/a.wav").read_bytes() == NOISE
    assert (tmp_path / "Tiny.tar.gz").is_file()
    assert messages[0].endswith("found, not downloaded again")


@pytest.mark.parametrize("unpacked", [True, False])
def test_a_fetch_that_was_stopped_while_it_unpacked_is_not_taken_for_one_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unpacked: bool
) -> None:
    tiny = TINY if unpacked else replace(TINY, unpacked=0, folders=("Tiny.tar.gz", "Tiny"))

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    site = Site(ARCHIVE)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "unpack" if unpacked else "check_md5", stopped)
        get(site, tmp_path, tiny)
    assert [p.name for p in tmp_path.iterdir()] == ["Tiny.tar.gz.fetched"]
    messages: list[str] = []
    place = get(site, tmp_path, tiny, messages)
    assert len(site.asked) == 1 and messages[0].endswith("Tiny.tar.gz.fetched: found, not downloaded again")
    assert [p.name for p in tmp_path.iterdir()] == [place.name]


def test_size_and_licence_are_shown_also_where_nobody_can_say_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(data, ["--dataset", "esc50"])
    assert done.exit_code == 2 and "give --yes" in done.stderr
    assert "to download" in done.stdout and "licence" in done.stdout


def test_already_there(tmp_path: Path) -> None:
    site = Site(ARCHIVE)
    place = get(site, tmp_path)
    (place / "mine.txt").write_text("kept")
    (tmp_path / "Tiny.tar.gz.fetched").touch()  # by a process that was killed just behind the unpacking
    messages: list[str] = []
    assert get(site, tmp_path, told=messages) == place
    assert len(site.asked) == 1 and (place / "mine.txt").read_text() == "kept"
    assert messages == [f"{place}: already there, nothing to fetch"] and [*tmp_path.iterdir()] == [place]
    (tmp_path / "Other").mkdir()
    (tmp_path / "Other" / "x").touch()
    assert obtain(replace(TINY, folders=("Elsewhere", "Other")), tmp_path, say=messages.append) == tmp_path / "Other"


def test_a_set_that_is_used_packed_stays_packed(tmp_path: Path) -> None:
    site, tiny = Site(ARCHIVE), replace(TINY, unpacked=0, folders=("Tiny.tar.gz", "Tiny"))
    for _ in range(2):
        assert get(site, tmp_path, tiny) == tmp_path / "Tiny.tar.gz"
    assert (tmp_path / "Tiny.tar.gz").read_bytes() == ARCHIVE and len(site.asked) == 1


def test_disk_space_is_looked_at_first(tmp_path: Path) -> None:
    site = Site(ARCHIVE)
    for tiny in (replace(TINY, size=10**18), replace(TINY, unpacked=10**18)):
        with pytest.raises(InputError, match=r"GB free, Tiny needs 1000000000\.0 GB more"):
            get(site, tmp_path, tiny)
    assert site.asked == [] and list(tmp_path.iterdir()) == []


def test_a_data_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"):
        get(Site(ARCHIVE), tmp_path / "file" / "data")


def test_nothing_is_fetched_without_consent(tmp_path: Path) -> None:
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return False

    site = Site(ARCHIVE)
    with serving(site), pytest.raises(InputError, match="--yes"):
        obtain(TINY, tmp_path, url=site.url, confirm=confirm, say=lambda _: None)
    assert site.asked == [] and len(asked) == 1 and "Download" in asked[0]


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    def confirm(_: str) -> bool:
        code = (
            "import sys; from pathlib import Path; from pipeline.corpus.fetch import fetch\n"
            "from pipeline.config import InputError\n"
            "try: fetch('cifar100', Path(sys.argv[1]), say=lambda _: None)\n"
            "except InputError as error: print(error)"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
        assert "is fetching into it; wait until it is done" in done.stdout, done
        return True

    site = Site(ARCHIVE)
    with serving(site):
        assert_whole(obtain(TINY, tmp_path, url=site.url, confirm=confirm, say=lambda _: None))


def refused(content: bytes, tmp_path: Path, line: str, limit: int = 2_000_000) -> None:
    data = tmp_path / "inside" / "data"
    data.mkdir(parents=True)
    (data / "x.archive").write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadArchive, match=line) as caught:
        unpack(data / "x.archive", data / "place", limit=limit)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../../out", "a/../../../out", "/ABSOLUTE/out", "a\\..\\..\\out", "C:\\out", "a/.."])
@pytest.mark.parametrize("pack", [tar_gz, zipped])
def test_members_that_leave_the_folder(tmp_path: Path, name: str, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    name = name.replace("/ABSOLUTE", str(tmp_path))
    refused(pack({"a/good": b"1", name: b"evil"}), tmp_path, "leaves the folder")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices(tmp_path: Path, kind: bytes) -> None:
    def change(info: tarfile.TarInfo) -> None:
        if info.name == "a/link":
            info.type, info.linkname, info.size = kind, "../../../etc", 0

    refused(tar_gz({"a/good": b"1", "a/link": b""}, change), tmp_path, "neither file nor folder")


def test_a_link_in_a_zip(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        info = zipfile.ZipInfo("a/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc")
    refused(packed.getvalue(), tmp_path, "neither file nor folder")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in ("a/x.wav", "a/./x.wav"):
            tar.addfile(tarfile.TarInfo(name))
    refused(packed.getvalue(), tmp_path / "same", "two members")
    refused(zipped({"a/x.wav": b"1", "a/X.WAV": b"2"}), tmp_path / "capitals", "two members")
    refused(zipped({"a/x": b"1", "a/x/y": b"2"}), tmp_path / "file-and-folder", "damaged")


def test_more_than_was_told(tmp_path: Path) -> None:
    refused(tar_gz({"a/zeros": bytes(3_000_000)}), tmp_path / "tar", "more than 2 MB")
    refused(zipped({"a/zeros": bytes(3_000_000)}), tmp_path / "zip", "more than 2 MB")


def test_folders_without_a_byte_in_them_count_too(tmp_path: Path) -> None:
    refused(zipped({f"a/{i}/": b"" for i in range(500)}), tmp_path / "many", "more than 2 MB")
    refused(zipped({f"a/{i}{'/x' * 100}/": b"" for i in range(5)}), tmp_path / "deep", "more than 2 MB")


def test_archives_without_one_folder(tmp_path: Path) -> None:
    refused(tar_gz({"a/x": b"1", "b/x": b"2"}), tmp_path / "two", "expected one folder")
    refused(tar_gz({"x": b"1"}), tmp_path / "none", "expected one folder")


@pytest.mark.parametrize("pack", [tar_gz, zipped])
@pytest.mark.parametrize("damage", ["cut", "flipped", "html", "empty"])
def test_damaged_archives(tmp_path: Path, damage: str, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    content = pack({"a/noise": NOISE})
    flipped = content[:400_000] + bytes([content[400_000] ^ 1]) + content[400_001:]
    damaged = {"cut": content[:400_000], "flipped": flipped, "html": b"<html>", "empty": b""}[damage]
    refused(damaged, tmp_path, "damaged archive")


def test_an_encrypted_zip(tmp_path: Path) -> None:
    content = bytearray(zipped({"a/x": b"1"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    refused(bytes(content), tmp_path, "damaged archive")


def test_owners_and_modes_of_the_archive_are_not_taken(tmp_path: Path) -> None:
    def change(info: tarfile.TarInfo) -> None:
        info.mode, info.uid = 0o4777, 12345

    (tmp_path / "x.tar.gz").write_bytes(tar_gz({"a/x": b"1"}, change))
    unpack(tmp_path / "x.tar.gz", tmp_path / "place", limit=20_000)
    status = (tmp_path / "place" / "x").stat()
    assert status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) & 0o7111 == 0


def test_what_an_earlier_unpacking_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".place.unpacking" / "old").mkdir(parents=True)
    (tmp_path / "x.tar.gz").write_bytes(tar_gz({"a/x": b"1"}))
    unpack(tmp_path / "x.tar.gz", tmp_path / "place", limit=20_000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["place", "x.tar.gz"]


CSV = b"filename,fold\n"
LOOSE = replace(
    TINY,
    filename="ESC.zip",
    folders=("ESC",),
    md5="",
    clips=2,
    files=(("meta/esc50.csv", hashlib.md5(CSV).hexdigest()),),
)


def test_files_are_checked_where_the_archive_cannot_be(tmp_path: Path) -> None:
    good = {
        "ESC-50-0123/meta/esc50.csv": CSV,
        "ESC-50-0123/audio/1.wav": b"1",
        "ESC-50-0123/audio/2.wav": b"2",
    }
    place = get(Site(zipped(good), ranges=False, chunked=True), tmp_path / "good", LOOSE)
    assert place == tmp_path / "good" / "ESC" and (place / "audio" / "2.wav").read_bytes() == b"2"
    for bad, line in [
        (good | {"ESC-50-0123/meta/esc50.csv": b"other"}, "meta/esc50.csv in it has MD5"),
        ({k: v for k, v in good.items() if "csv" not in k}, "of no such file"),
        ({k: v for k, v in good.items() if "2.wav" not in k}, "1 clip in it, expected 2"),
    ]:
        with pytest.raises(InputError, match=line):
            get(Site(zipped(bad)), tmp_path / "bad", LOOSE)
        assert [p.name for p in (tmp_path / "bad").iterdir()] == ["ESC.zip.bad"]


def test_published_sources() -> None:
    urban, cifar = SOURCES["urbansound8k"], SOURCES["cifar100"]
    assert urban.md5 == "9aa69802bbf37fb986f71ec1483a196e" and "1203745/files/UrbanSound8K.tar.gz" in urban.url
    assert cifar.md5 == "eb9058c3a382ffc7106e4002c42a8d85"
    for name in SOURCES:
        text = notice(source(name))
        assert (
            "licence" in text and SOURCES[name].url in text and ("MB to download" in text or "GB to download" in text)
        )
    assert "6.0 GB" in notice(urban) and "BY-NC 3.0" in notice(urban)
    assert "no fixed checksum" in notice(SOURCES["esc50"])
    assert source("esc10") is source("esc50")


def test_unknown_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one of urbansound8k, esc50, esc10, cifar100"):
        fetch("gtzan", tmp_path)


def test_fetch_by_name_checks_against_the_published_sum(tmp_path: Path) -> None:
    site = Site(gzip.compress(b"not it"))
    with serving(site), pytest.raises(InputError, match=f"expected {SOURCES['cifar100'].md5}"):
        fetch("cifar100", tmp_path, url=site.url, say=lambda _: None)
