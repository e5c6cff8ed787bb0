"""A server that answers as the hub does, refusals included, and never the network."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from hub.api import answer

TOKEN = "hf_good"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ARCHITECTURE = "vit_tiny_patch16_224"
ARGUMENTS = {"img_size": 32, "depth": 1, "embed_dim": 48, "num_heads": 3}
TRANSFORM = {"mean": [0.7, 0.6, 0.5], "std": [0.1, 0.2, 0.3], "input_size": [3, 32, 32]}


@dataclass
class StandIn:
    """Repositories by name: their files, or ``gated``, ``disabled`` or ``silent``.

    ``uploaded`` holds large files by sha256, ``down`` is the status of every answer of the API, or
    ``silent``; None = it answers.
    """

    url: str
    repositories: dict[str, Mapping[str, bytes] | str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    private: set[str] = field(default_factory=set)
    uploaded: dict[str, bytes] = field(default_factory=dict)
    down: int | str | None = None
    closing: threading.Event = field(default_factory=threading.Event)

    def environment(self, home: Path, *, token: str | None = None) -> dict[str, str]:
        """Environment of a child process that takes this for the hub, with an empty cache."""
        more = {} if token is None else {"HF_TOKEN": token}
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_ETAG_TIMEOUT": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": "",
            "NO_PROXY": "*",
            **more,
        }

    def use(self, monkeypatch: pytest.MonkeyPatch, home: Path, *, token: str | None = None) -> None:
        """Let this process take this for the hub, with an empty cache."""
        import huggingface_hub
        from huggingface_hub import constants

        files = self.url + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in (
            ("ENDPOINT", self.url),
            ("HUGGINGFACE_CO_URL_TEMPLATE", files),
            ("HF_HUB_CACHE", str(home / "hub")),
            ("HF_TOKEN_PATH", str(home / "token")),
            ("HF_HUB_ETAG_TIMEOUT", 1),
            ("HF_HUB_DISABLE_XET", True),
            ("HF_HUB_OFFLINE", False),
        ):
            monkeypatch.setattr(constants, name, value, raising=False)
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setenv("HF_TOKEN", token or "")
        # A session made before has read the proxies already; old clients have one a thread.
        getattr(huggingface_hub, "close_session", lambda: None)()


def tiny_timm_repository(*, classes: int = 5) -> dict[str, bytes]:
    """Files of a tiny vision transformer as timm pushes one, with a classifier."""
    import timm
    import torch
    from safetensors.torch import save

    torch.manual_seed(3)
    network = timm.create_model(ARCHITECTURE, num_classes=classes, **ARGUMENTS)
    config: dict[str, Any] = {
        "architecture": ARCHITECTURE,
        "num_classes": classes,
        "num_features": 48,
        "global_pool": "token",
        "model_args": ARGUMENTS,
        "pretrained_cfg": {**TRANSFORM, "interpolation": "bicubic", "license": "CC0-1.0"},
    }
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": save(dict(network.state_dict())),
    }


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Serve on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.block_on_close = False
    hub = StandIn(f"http://127.0.0.1:{server.server_port}")
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        self._answer_api()

    def do_PUT(self) -> None:
        self._answer_api()

    def _answer_api(self) -> None:
        hub: StandIn = self.server.hub  # type: ignore[attr-defined]
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given = self.headers.get("Authorization")
        asked = urlsplit(self.path)
        found = answer(
            hub,
            self.command,
            asked.path,
            parse_qs(asked.query),
            known=given == f"Bearer {TOKEN}",
            body=sent,
        )
        if hub.down == "silent":
            hub.closing.wait(20)
            self.close_connection = True
        elif hub.down is not None:
            self._refuse(int(hub.down))
        elif given is not None and given != f"Bearer {TOKEN}":
            self._refuse(401, message="Invalid credentials in Authorization header")
        elif found is None:
            self._refuse(404)
        else:
            self._say(*found)

    def _say(self, status: int, held: Any) -> None:
        content = json.dumps(held).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, *, body: bool) -> None:
        hub: StandIn = self.server.hub  # type: ignore[attr-defined]
        hub.asked.append(f"{self.command} {self.path}")
        if self.path.startswith("/api/"):
            self._answer_api()
            return
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        repository = hub.repositories.get(found[1]) if found else None
        given = self.headers.get("Authorization")
        if repository == "silent" or "/silent" in self.path:
            hub.closing.wait(20)
            self.close_connection = True
        elif given is not None and given != f"Bearer {TOKEN}":
            self._refuse(401, message="Invalid credentials in Authorization header")
        elif found is None or repository is None:
            self._refuse(401 if given is None else 404, "RepoNotFound")
        elif repository == "gated":
            self._refuse(401 if given is None else 403, "GatedRepo")
        elif repository == "disabled":
            self._refuse(403, message="Access to this resource is disabled.")
        elif found[2] not in ("main", "v1", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif found[3] not in repository:
            self._refuse(404, "EntryNotFound")
        else:
            self._send(repository[found[3]], body=body)  # type: ignore[index]

    def _refuse(self, status: int, code: str = "", message: str = "") -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message or code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, data: bytes, *, body: bool) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass
