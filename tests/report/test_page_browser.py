"""The page in a real browser, from disk: it loads nothing that fails, and fits a phone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest

from pipeline.report import page
from tests.pages import made_up_embeddings, write_run, write_sounds

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--allow-file-access-from-files",
    "--disable-sync",
    "--disable-extensions",
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")

PHONE = 390

#: Put into a copy of the page: says what failed to load, what is wider than the window, and which words of a picture
#: are cut off at its edge.
PROBE = """<script>
addEventListener("error", e => console.error("FAILED " + (e.target.src || e.target.href || e.message)), true);
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(d => { d.open = true; });
  const wide = [...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll, svg, .wide")
    && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName);
  const blank = [...document.querySelectorAll("figure svg")].filter(s => s.getBoundingClientRect().height < 60);
  const cut = [...document.querySelectorAll("figure svg text")].filter(t => {
    const [own, all] = [t.getBoundingClientRect(), t.closest("svg").getBoundingClientRect()];
    return own.left < all.left - 1 || own.right > all.right + 1 || own.top < all.top - 1 || own.bottom > all.bottom + 1;
  }).map(t => t.textContent);
  // Running text in a table: off-screen on a phone, where it makes tall blank rows.
  const notes = [...document.querySelectorAll(".noted td:last-child")].filter(e => e.getClientRects().length).length;
  const below = [...document.querySelectorAll(".below li")].filter(e => e.getClientRects().length).length;
  const players = [...document.querySelectorAll("audio")];
  top.document.title = "PROBE " + JSON.stringify({wide, cut, notes, below, blank: blank.length, inner: innerWidth,
    scroll: document.documentElement.scrollWidth, ready: players.map(p => p.readyState > 0),
    loads: performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.endsWith(".wav")),
    ink: getComputedStyle(document.querySelector("figure svg text")).fill,
    body: getComputedStyle(document.body).backgroundColor});
});
</script>"""


@pytest.mark.slow
def test_the_page_in_a_browser(tmp_path):
    for fold in (1, 2):
        write_run(tmp_path / "runs", None, fold, 0)
        write_run(tmp_path / "runs", "angle,area", fold, 0)
    sounds = write_sounds(tmp_path / "data", folds=(1, 2))
    path = page.write(tmp_path / "runs", tmp_path / "reports", "mini", embeddings=made_up_embeddings, audio=sounds)
    probed = path.with_name("probed.html")
    # A player that loads at once holds the page's load event back until it has its file.
    text = path.read_text().replace('preload="none"', 'preload="auto"')
    probed.write_text(text.replace("<style>", PROBE + "<style>", 1))
    # A window of Chromium is never as narrow as a phone; a frame is.
    phone = path.with_name("phone.html")
    phone.write_text(
        f'<!DOCTYPE html><title></title><iframe src="probed.html" width="{PHONE}" height="844" style="border:0">'
    )
    done = subprocess.run(
        [
            BROWSER,
            *QUIET,
            f"--user-data-dir={tmp_path / 'browser'}",
            "--enable-logging=stderr",
            "--window-size=800,900",
            "--blink-settings=preferredColorScheme=0",
            "--dump-dom",
            phone.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    match = re.search(r"<title>PROBE (\{.*?\})</title>", done.stdout)
    assert match, done.stderr[-2000:]
    values = json.loads(match[1])
    assert values["loads"] == [] and values["blank"] == 0
    assert values["inner"] == PHONE and values["wide"] == [] and values["scroll"] <= PHONE
    assert values["cut"] == []
    assert values["notes"] == 0 and values["below"] == 2
    assert values["ready"] and all(values["ready"])
    assert values["ink"] == "rgb(230, 233, 236)" and values["body"] == "rgb(20, 23, 26)"  # dark was asked for
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not console, console
