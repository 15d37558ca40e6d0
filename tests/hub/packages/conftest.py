"""A real HTTP server that misbehaves on demand, and packages written into a repository of the test's own."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.canonical import content_hash
from holdfast.hub.packages import fetching


@dataclass
class Server:
    """What it serves by path, how often it was asked, and how it fails: see ``Handler``."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    port: int = 0

    def url(self, path: str) -> str:
        """The address of ``path``."""
        return f"http://127.0.0.1:{self.port}{path}"

    def add(self, path: str, data: bytes, *faults: str) -> str:
        """Serve ``data``; the first requests fail by ``faults``, one each. Return the address."""
        self.files[path], self.faults[path] = data, list(faults)
        return self.url(path)


class Handler(BaseHTTPRequestHandler):
    """Faults: cut (half of it, then the connection ends), long (a length that is too large), wrong (other
    bytes), redirect (to ``PATH.real``), loop, 404, 500, elsewhere (another range than asked for)."""

    state: Server

    def do_GET(self):
        state, wanted = self.state, self.headers.get("Range")
        state.requests.append((self.path, wanted))
        faults = state.faults.get(self.path) or []
        fault = faults.pop(0) if faults else ""
        data = state.files.get(self.path.removesuffix(".real"))
        if data is None or fault == "404":
            return self.send_error(404)
        if fault == "500":
            return self.send_error(500)
        if fault in ("redirect", "loop"):
            self.send_response(302)
            self.send_header("Location", self.path + (".real" if fault == "redirect" else ""))
            return self.end_headers()
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
        if wanted and start >= len(data):
            return self.send_error(416)
        body = data[start:]
        if fault == "wrong":
            body = bytes(255 - byte for byte in body)
        self.send_response(206 if wanted else 200)
        if wanted:
            first = start + 1 if fault == "elsewhere" else start
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(body) + (10 if fault == "long" else 0)))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
        return None

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def server(monkeypatch):
    """A server on this machine."""
    monkeypatch.setattr(fetching.time, "sleep", lambda seconds: None)
    state = Server()
    handler = type("Bound", (Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        state.port = listening.server_port
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


class Packages:
    """A project repository of packages, beside an empty home and a folder of data."""

    def __init__(self, root: Path) -> None:
        self.root, self.home, self.data = root / "repo", root / "home", root / "data"

    def write(self, name: str, kind: str = "package", folder: str = "", **fields: Any) -> Path:
        """Write ``<kind>/<name>/component.json``; return its folder."""
        place = self.root / kind / (folder or name)
        place.mkdir(parents=True, exist_ok=True)
        base = {
            "schema": "holdfast.component/1",
            "kind": kind,
            "name": name,
            "uid": content_hash([kind, name])[:16],
            "version": "1.0.0",
            "title": name.capitalize(),
        }
        (place / "component.json").write_text(json.dumps(base | fields))
        return place

    def entries(self) -> list[str]:
        """Names in the store, hidden ones too."""
        store = self.home / "store"
        return sorted(path.name for path in store.iterdir()) if store.is_dir() else []

    def leftovers(self) -> list[str]:
        """What is left under way."""
        work = self.home / "work"
        return sorted(path.name for path in work.iterdir()) if work.is_dir() else []


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """An empty repository, home and data folder."""
    made = Packages(tmp_path)
    made.data.mkdir()
    monkeypatch.setenv("HOLDFAST_HOME", str(made.home))
    monkeypatch.setenv("HOLDFAST_REPO", str(made.root))
    monkeypatch.setenv("HOLDFAST_DATA", str(made.data))
    monkeypatch.chdir(tmp_path)
    return made


def sha256(data: bytes) -> str:
    """Hash of bytes."""
    return hashlib.sha256(data).hexdigest()
