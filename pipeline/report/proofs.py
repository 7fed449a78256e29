"""Exports and their pages, by the SHA-256 that ``proof.json`` has of each file beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import files
from pipeline.errors import Damaged
from pipeline.runs import seal

if TYPE_CHECKING:
    from pipeline.report.check import Checked

PROOF = "proof.json"

#: What an export has, and what a page of one has.
MODEL, PAGE = "model.onnx", "student-sound.html"

#: What to do about an export, and about its page.
AGAIN = "make the export again: audio-rkd export, and the run's folder (of a student of all folds: audio-rkd final)"
PAGE_AGAIN = "make the page again: audio-rkd web, and the run's folder"


def look_into(folder: Path, out: Checked) -> None:
    """Check an export, or a page of one."""
    is_page = (folder / PAGE).is_file() or (folder.name == "web" and (folder.parent / PROOF).is_file())
    again = PAGE_AGAIN if is_page else AGAIN
    out.add("pages" if is_page else "exports", sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
    if not (folder / PROOF).is_file():
        if is_page and PROOF not in text_of(folder / "index.html"):  # of before pages had one
            out.unchecked.append(str(folder))
        else:
            out.finding(folder / PROOF, "no such file, and it names the files beside it", again)
        return
    try:
        proof: Any = json.loads((folder / PROOF).read_bytes())
        digests = dict(proof.get("sha256") or {})
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise Damaged(f"{folder / PROOF}: damaged (not JSON: {error}); {again}") from None
    if not digests and seal.CONTENT not in proof:
        if "bytes" not in proof:  # all exports have had it
            raise Damaged(f"{folder / PROOF}: damaged (no bytes, no sha256); {again}")
        out.unchecked.append(str(folder))
        return
    if proof.get(seal.CONTENT) != seal.content_of(proof):
        out.finding(folder / PROOF, "it does not say what was written: its digest is another", again)
    for name in files.differing(folder, digests):
        state = "not the file that proof.json names (SHA-256 differs)" if (folder / name).is_file() else "no such file"
        out.finding(folder / name, state, again)


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return PROOF  # a page without its index is not whole
