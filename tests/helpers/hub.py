"""A Hub on this machine that knows one model: a folder of files, sent no faster than told."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0" * 39 + "1"
STEPS_PER_SECOND = 20


@contextmanager
def hub(name: str, folder: Path, bytes_per_second: int) -> Iterator[str]:
    """Its address, as long as it runs.

    Args:
        name: the model's id.
    """
    files = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path in (f"/api/models/{name}", f"/api/models/{name}/revision/main"):
                self._send(200, _json({"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}))
            elif path == f"/api/models/{name}/tree/{COMMIT}":
                self._send(200, _json([_entry(file, content) for file, content in files.items()]))
            elif path.startswith(f"/{name}/resolve/") and (content := files.get(path.split("/", 5)[-1])) is not None:
                self._send(200, content, {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": COMMIT})
            else:
                known = path.startswith((f"/{name}/", f"/api/models/{name}/"))
                self._send(404, b"", {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"})

        do_HEAD = do_GET

        def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
                self.send_header(key, value)
            self.end_headers()
            step = bytes_per_second // STEPS_PER_SECOND
            for start in range(0, len(body) if self.command == "GET" else 0, step):
                self.wfile.write(body[start : start + step])
                time.sleep(1 / STEPS_PER_SECOND)

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _json(content: object) -> bytes:
    return json.dumps(content).encode()


def _entry(file: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": file, "size": len(content), "oid": _digest(content)}


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
