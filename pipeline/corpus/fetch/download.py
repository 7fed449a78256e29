"""One file over HTTP: resumed where it was cut, tried again with pauses, under its name only when whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import requests
import urllib3
from tqdm import tqdm

import pipeline
from pipeline.config import InputError

#: Zenodo answers 403 to the default names of HTTP libraries.
AGENT = f"audio-rkd/{pipeline.__version__} (data set download)"

#: Seconds before each new attempt; counted afresh whenever an attempt brought the download further.
PAUSES = (1.0, 2.0, 5.0, 10.0)

#: Seconds to wait for a connection, and for each piece.
TIMEOUT = (20.0, 60.0)

PIECE = 1 << 18

NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError)


class Cut(Exception):
    """An attempt that ended early; the next may get further."""


class Refused(Exception):
    """An answer that another attempt will not change."""


def download(
    url: str,
    path: Path,
    whole: Path | None = None,
    *,
    remedy: str = "",
    say: Callable[[str], None] = print,
    pauses: tuple[float, ...] = PAUSES,
) -> None:
    """Write what ``url`` serves to ``whole`` (``path``), by way of ``path.part``, from where an earlier attempt was cut.

    A server without ranges sends everything again. Raises ``InputError`` (with ``remedy`` at its end) for an
    answer that will not change, such as 404, and when ``len(pauses)`` more attempts brought it no further.
    """
    part = path.with_name(path.name + ".part")
    with part.open("ab") as out:
        most, waits = out.tell(), list(pauses)
        while True:
            try:
                transfer(url, out, path.name)
                break
            except Refused as error:
                raise InputError(f"{url}: {error}. Check the address. {remedy}".strip()) from None
            except (Cut, *NETWORK_ERRORS) as error:
                reason = " ".join(str(error).split())[:200]
                if isinstance(error, ValueError):  # requests' errors for what is no address at all
                    raise InputError(f"{url}: {reason}; expected an http or https address") from None
                have = out.tell()
                if have > most:
                    most, waits = have, list(pauses)
                if not waits:
                    raise InputError(
                        f"{url}: no complete download ({reason}). Check the network and run this again, "
                        f"{have:,} bytes are kept. {remedy}".strip()
                    ) from None
                say(f"{path.name}: cut at {have:,} bytes ({reason}); again in {waits[0]:g} s")
                time.sleep(waits.pop(0))
    part.replace(whole or path)


def transfer(url: str, out: BinaryIO, name: str) -> None:
    """Append the rest of ``url`` to ``out``. Raises ``Cut`` or one of ``NETWORK_ERRORS``, or ``Refused``."""
    have = out.tell()
    # "identity": nothing compressed on the way; raw.stream below, since servers call a .gz's own compression so.
    headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        status, span = answer.status_code, answer.headers.get("Content-Range", "")
        if status == 416 and span == f"bytes */{have}":
            return  # the part was whole; only its new name was missing
        if status == 416 or (status == 206 and not span.startswith(f"bytes {have}-")):
            start_over(out)
            raise Cut(f"the server could not go on at byte {have:,}")
        if status == 429 or status >= 500:
            raise Cut(f"HTTP {status} {answer.reason}")
        if status not in (200, 206):
            raise Refused(f"HTTP {status} {answer.reason}")
        if status == 200 and have:
            start_over(out)
            have = 0
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        with tqdm(desc=name, initial=have, total=total, unit="B", unit_scale=True, disable=None) as bar:
            for piece in answer.raw.stream(PIECE, decode_content=False):
                out.write(piece)
                bar.update(len(piece))
        out.flush()
        if total is not None and out.tell() != total:
            raise Cut(f"{out.tell():,} of {total:,} bytes")


def start_over(out: BinaryIO) -> None:
    out.truncate(0)
    out.seek(0)
