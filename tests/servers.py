"""A real HTTP server on 127.0.0.1 that can drop connections, ignore ranges, or answer with errors."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What is served, how badly, and what was asked for."""

    content: bytes
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the connection of the next requests is dropped, one entry a request."""
    statuses: list[int] = field(default_factory=list)
    """Answers to the first requests; 200 or 206 afterwards."""
    chunked: bool = False
    """No Content-Length, as GitHub does for archives it packs."""
    headers: dict[str, str] = field(default_factory=dict)
    stall: int = 0
    """Bytes after which the server falls silent, the connection open, until ``stall`` is 0 again."""
    wrong_span: bool = False
    """Answer a range with another one."""
    url: str = ""
    asked: list[str | None] = field(default_factory=list)
    """The Range header of every request."""
    agents: list[str | None] = field(default_factory=list)
    sent: int = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        wanted = self.headers["Range"]
        site.asked.append(wanted)
        site.agents.append(self.headers["User-Agent"])
        if site.statuses:
            return self.refuse(site.statuses.pop(0))
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and site.ranges else 0
        if start >= len(site.content) and start:
            return self.refuse(416, {"Content-Range": f"bytes */{len(site.content)}"})
        body = site.content[start:]
        self.send_response(206 if start else 200)
        if start:
            shown = 0 if site.wrong_span else start
            self.send_header("Content-Range", f"bytes {shown}-{len(site.content) - 1}/{len(site.content)}")
        for name, value in site.headers.items():
            self.send_header(name, value)
        if site.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = site.cuts.pop(0) if site.cuts else len(body)
        self.send(body[:cut], whole=cut >= len(body))

    def send(self, body: bytes, whole: bool) -> None:
        site = self.site
        site.sent += len(body)
        if site.stall:
            with suppress(OSError):  # the other end may be gone by then
                self.wfile.write(body[: site.stall])
                self.wfile.flush()
                while site.stall:
                    time.sleep(0.01)
            self.close_connection = True
        elif site.chunked:
            self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n" + (b"0\r\n\r\n" if whole else b""))
        else:
            self.wfile.write(body)
        if not whole:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Serve ``site`` at ``site.url`` until the block ends."""
    handler = type("SiteHandler", (Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_address[1]}/archive"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def closed_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
