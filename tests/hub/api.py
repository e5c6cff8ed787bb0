"""What the stand-in answers to the hub's API: who am I, list, create, upload, commit."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from hub.stand_in import StandIn

Answer = tuple[int, Any]

ACCOUNT = "lab-member"
FORBIDDEN = "other-lab"
"""An organisation to which the account may not write."""


def answer(
    hub: StandIn,
    method: str,
    path: str,
    query: Mapping[str, list[str]],
    *,
    known: bool,
    body: bytes,
) -> Answer | None:
    """Status and JSON; None where the path is not of the API."""
    parts = path.strip("/").split("/")
    if method == "GET" and path == "/api/whoami-v2":
        return (200, {"name": ACCOUNT, "type": "user"}) if known else (401, {})
    if method == "GET" and path == "/api/models":
        rows = [_row(hub, name) for name in sorted(hub.repositories)]
        wanted = set(query.get("filter", []))
        return 200, [row for row in rows if wanted <= set(row["tags"])]
    if method == "GET" and parts[:2] == ["api", "models"] and len(parts) == 4:
        name = "/".join(parts[2:])
        return (200, _row(hub, name)) if name in hub.repositories else (404, {})
    if method in ("POST", "PUT"):
        return _write(hub, path, parts, known=known, body=body)
    return None


def _row(hub: StandIn, name: str) -> dict[str, Any]:
    held = hub.repositories[name]
    files = held if isinstance(held, dict) else {}
    card = front_matter(files.get("README.md", b"").decode())
    tags = [*card.get("tags", []), card.get("library_name", "")]
    tags += [f"license:{card['license']}"] if "license" in card else []
    return {
        "id": name,
        "tags": tags,
        "cardData": card,
        "private": name in hub.private,
        "gated": "auto" if held == "gated" else False,
        "usedStorage": sum(map(len, files.values())),
    }


def front_matter(card: str) -> dict[str, Any]:
    """The table between the first two lines ``---`` of a card."""
    if not card.startswith("---"):
        return {}
    return dict(yaml.safe_load(card.split("---")[1]) or {})


def _write(hub: StandIn, path: str, parts: list[str], *, known: bool, body: bytes) -> Answer | None:
    if path.startswith("/upload/"):  # an address that the hub signed
        assert hashlib.sha256(body).hexdigest() == parts[-1]
        hub.uploaded[parts[-1]] = body
        return 200, {}
    if path == "/api/validate-yaml":
        return 200, {"errors": [], "warnings": []}
    if path == "/api/repos/create":
        wanted = json.loads(body)
        name = f"{wanted['organization']}/{wanted['name']}"
        private = wanted.get("private") or wanted.get("visibility") == "private"
        if not known or wanted["organization"] == FORBIDDEN:
            return (403 if known else 401), {"error": "You don't have the rights"}
        if name in hub.repositories:
            return 409, {"url": f"{hub.url}/{name}", "error": "exists"}
        hub.repositories[name] = {}
        if private:
            hub.private.add(name)
        return 200, {"url": f"{hub.url}/{name}", "name": name}
    if not known:
        return 401, {}
    if path.endswith(".git/info/lfs/objects/batch"):
        objects = [
            row | {"actions": {"upload": {"href": f"{hub.url}/upload/{row['oid']}"}}}
            for row in json.loads(body)["objects"]
        ]
        return 200, {"transfer": "basic", "objects": objects}
    if parts[:2] != ["api", "models"] or len(parts) < 6:
        return None
    name, verb = "/".join(parts[2:4]), parts[4]
    if verb == "preupload":
        files = [
            {
                "path": row["path"],
                "uploadMode": "lfs" if row["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for row in json.loads(body)["files"]
        ]
        return 200, {"files": files}
    if verb == "commit":
        return _commit(hub, name, body)
    return None


def _commit(hub: StandIn, name: str, body: bytes) -> Answer:
    from hub.stand_in import COMMIT

    files = dict(hub.repositories[name])
    for line in map(json.loads, body.splitlines()):
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            files[value["path"]] = hub.uploaded[value["oid"]]
    hub.repositories[name] = files
    return 200, {"commitUrl": f"{hub.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT}
