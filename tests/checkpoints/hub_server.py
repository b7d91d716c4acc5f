"""A Hugging Face hub of one repository on loopback, which keeps a list of what was asked of it."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    repository: str
    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.asked.append(f"{self.command} {path}")
        information, files = f"api/models/{self.repository}", f"{self.repository}/resolve/"
        if path.startswith(information):
            revision = path.removeprefix(information).removeprefix("/revision/") or "main"
            if revision not in ("main", COMMIT):
                return self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            names = [{"rfilename": name} for name in self.files]
            return self.send(200, json.dumps({"id": self.repository, "sha": COMMIT, "siblings": names}).encode(), {})
        if path.startswith(files):
            _, _, name = path.removeprefix(files).partition("/")
            if name in self.files:
                headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(self.files[name]).hexdigest()}"'}
                return self.send(200, self.files[name], headers, body=body)
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
        return self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool = True) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body and self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub(repository: str, files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Its address, and the list of requests that grows as they come."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"repository": repository, "files": files, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
