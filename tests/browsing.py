"""A page in headless Chromium that is given time until its own script says that it is done."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions"),
    *("--allow-file-access-from-files", "--autoplay-policy=no-user-gesture-required", "--enable-logging=stderr"),
)

#: The page is not loaded, and Chromium waits for that, before the server lets go of the picture.
PROBE = """
<script>
(async () => {{
  const loaded = performance.getEntriesByType.bind(performance, "resource");
  let result;
  try {{ result = await (async () => {{ {script} }})(); }} catch (error) {{ result = {{ error: String(error.stack || error) }}; }}
  const asked = loaded().map((entry) => entry.name).filter((name) => !name.startsWith("blob:") && !name.includes("/hold"));
  document.title = "PROBE " + JSON.stringify({{ result, asked }});
  new Image().src = "{server}/done";
}})();
</script>
<img src="{server}/hold" hidden>
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """A folder, and ``/hold``, which is answered after ``/done`` was asked for."""

    done: threading.Event

    def do_GET(self) -> None:
        if self.path.startswith(("/hold", "/done")):
            if self.path.startswith("/done"):
                self.done.set()
            self.done.wait(240)
            self.send_response(204)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server of ``folder`` on the loopback, for one page."""
    handler = type("OnePage", (Handler,), {"done": threading.Event()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        handler.done.set()
        server.shutdown()
        server.server_close()
        thread.join()


def probed(page: Path, script: str, home: Path, *, served: bool, flags: tuple[str, ...] = ()) -> dict[str, Any]:
    """What ``script`` (of an asynchronous function) returns in ``page``, and which addresses it ``asked`` for.

    The page comes from a server or from the disk; ``flags``: more of Chromium's, for example for a screenshot.
    """
    copy = page.with_name(f"probed-{page.name}")
    with serving(page.parent) as address:
        probe = PROBE.format(script=script, server=address)
        copy.write_text(page.read_text(encoding="utf-8").replace("</body>", probe + "</body>"), encoding="utf-8")
        target = f"{address}/{copy.name}" if served else copy.as_uri()
        shown = () if any(flag.startswith("--screenshot") for flag in flags) else ("--dump-dom",)
        done = subprocess.run(
            [str(BROWSER), *FLAGS, f"--user-data-dir={home / 'browser'}", *flags, *shown, target],
            capture_output=True,
            text=True,
            timeout=280,
            env={**os.environ, "HOME": str(home)},
        )
    copy.unlink()
    match = re.search(r"<title>PROBE (\{.*?\})</title>", done.stdout, re.DOTALL)
    values = json.loads(match[1]) if match else {}
    values["console"] = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert match or not shown, done.stderr[-3000:]
    values["asked"] = [name.removeprefix(address).lstrip("/") for name in values.get("asked", ())]
    return values
