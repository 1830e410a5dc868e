"""A hub on loopback for tests: the calls that a download makes, over real sockets, with faults on request.

What it answers is what the hub answers: /api/models/OWNER/NAME/revision/COMMIT?blobs=true with sizes and hashes, and
/OWNER/NAME/resolve/COMMIT/PATH with ETag, X-Repo-Commit and ranges. Source: https://huggingface.co/docs/hub/api.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from collections import defaultdict
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Literal, Self, cast

if TYPE_CHECKING:
    from pathlib import Path

_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong in one answer.

    kind: "cut" closes the connection after `after` bytes of the body, "stall" sends no more and keeps it open, "wrong"
    changes the first byte of the body, "status" answers `after`, "whole" ignores the range that was asked for.
    """

    kind: Literal["cut", "stall", "wrong", "status", "whole"]
    after: int = 0


class FakeHub:
    """Serves the files of one directory as one repository at one commit, until it is closed.

    faults: by path in the repository ("" for the API's answer), taken one by one. ranges: the Range of each request
    for a file, by path.
    """

    def __init__(self, directory: Path, *, repository: str = "acme/mini", revision: str = "ab" * 20) -> None:
        """Listen on a free port of loopback."""
        self.repository, self.revision = repository, revision
        self.files = {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.ranges: dict[str, list[str | None]] = defaultdict(list)
        self.leaving = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What HF_ENDPOINT says to reach it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def model(self) -> str:
        """What AYA_MODEL says to have its model."""
        return f"{self.repository}@{self.revision}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leaving.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: FakeHub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one call."""
        hub = cast("_Server", self.server).hub
        path = self.path.partition("?")[0]
        if path == f"/api/models/{hub.repository}/revision/{hub.revision}":
            fault = hub.faults[""].pop(0) if hub.faults[""] else None
            if fault:
                self._refuse(fault.after)
            else:
                self._answer_json(_described(hub))
            return
        name = path.removeprefix(f"/{hub.repository}/resolve/{hub.revision}/")
        if name not in hub.files:
            self._refuse(404)
            return
        self._send_file(hub, name)

    def _send_file(self, hub: FakeHub, name: str) -> None:
        hub.ranges[name].append(self.headers.get("Range"))
        fault = hub.faults[name].pop(0) if hub.faults[name] else None
        if fault and fault.kind == "status":
            self._refuse(fault.after)
            return
        body = hub.files[name].read_bytes()
        if fault and fault.kind == "wrong":
            body = bytes([body[0] ^ 1]) + body[1:]
        asked = _RANGE.fullmatch(self.headers.get("Range") or "")
        start = int(asked[1]) if asked and not (fault and fault.kind == "whole") else 0
        self.send_response(206 if asked and not (fault and fault.kind == "whole") else 200)
        self.send_header("ETag", f'"{_blob(body)}"')
        self.send_header("X-Repo-Commit", hub.revision)
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        broken = fault and fault.kind in {"cut", "stall"}
        self.wfile.write(body[start : start + fault.after] if fault and broken else body[start:])
        if fault and broken:
            self.wfile.flush()
            if fault.kind == "stall":
                hub.leaving.wait()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _answer_json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 http.server's name
        """Say nothing."""


def _described(hub: FakeHub) -> dict[str, object]:
    siblings: list[dict[str, object]] = []
    for name, path in hub.files.items():
        body = path.read_bytes()
        sibling: dict[str, object] = {"rfilename": name, "size": len(body), "blobId": _blob(body)}
        if name.endswith(".safetensors"):
            sibling["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 134}
        siblings.append(sibling)
    return {"id": hub.repository, "modelId": hub.repository, "sha": hub.revision, "siblings": siblings}


def _blob(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
