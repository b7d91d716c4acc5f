"""A loopback HTTP server over a folder that misbehaves as it is told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Flaky(ThreadingHTTPServer):
    """``faults``: what happens at each GET of a file, in turn, the last for ever: a status, "stall", "cut" (the
    connection ends early), "short" (fewer bytes than a HEAD promised) or 200. ``gets``: how often each was asked for.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.faults: dict[str, list[int | str]] = {}
        self.gets: Counter[str] = Counter()
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """Clients go away in these tests; that needs no traceback."""


class Handler(BaseHTTPRequestHandler):
    server: Flaky

    def log_message(self, *_) -> None: ...

    def do_HEAD(self) -> None:
        self._answer(200, body=False)

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.gets[name] += 1
        faults = self.server.faults.get(name, [200])
        self._answer(faults[min(self.server.gets[name], len(faults)) - 1], body=True)

    def _answer(self, fault: int | str, *, body: bool) -> None:
        file = self.server.folder / self.path.lstrip("/")
        if not file.is_file():
            fault = 404
        if isinstance(fault, int) and fault != 200:
            self.send_response(fault)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) - 512 if fault == "short" else len(data)))
        self.end_headers()
        if not body:
            return
        if fault == "short":
            data = data[:-512]
        if fault in ("stall", "cut"):
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
        if fault == "stall":
            self.server.closing.wait(20)
        if fault not in ("stall", "cut"):
            self.wfile.write(data)
        self.close_connection = True


@contextmanager
def serving(folder: Path) -> Generator[Flaky]:
    with Flaky(folder) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
