"""Room and rights where hypergene writes, and whether locks hold there."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from hypergene.errors import HypergeneError
from hypergene.pipeline.doctor.finding import Finding, Level

LITTLE_GB: Final = 5.0
NOTHING_GB: Final = 0.5
_SKEW_S = 60.0
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "9p", "afs")


def check_disk() -> Iterator[Finding]:
    """Look at the working folder, the folder for temporary files and the hub's cache."""
    here = Path.cwd()
    yield place(
        *("working_folder", "The working folder", here),
        fix="Results go beside the slide: give another folder with -o.",
        unwritable="warn",
    )
    yield _temporary()
    yield locks(here)

    from huggingface_hub import constants

    yield place(
        *("cache", "The Hugging Face cache", Path(constants.HF_HUB_CACHE)),
        fix="Name another one in HF_HOME.",
        unwritable="warn",
    )


def _temporary() -> Finding:
    """Look at the folder for temporary files; Python takes another one where it cannot be used."""
    folder, named = tempfile.gettempdir(), os.environ.get("TMPDIR")
    found = place(
        *("temporary_folder", "The folder for temporary files", Path(folder)),
        fix="Name another one in TMPDIR.",
        unwritable="fail",
    )
    if found.level == "pass" and named and Path(named) != Path(folder):
        told = f"TMPDIR is {named}, which cannot be used; {folder} is used instead."
        return replace(found, level="warn", message=told, fix="Make that folder, or unset TMPDIR.")
    return found


def place(code: str, name: str, folder: Path, *, fix: str, unwritable: Level) -> Finding:
    """Say how much room there is in a folder, and whether it can be written to.

    Parameters
    ----------
    code, name
        For machines, and for people.
    folder
        It may not exist yet; then what it will be made in is looked at.
    fix
        What to do if it has no room, or cannot be written to.
    unwritable
        How bad that is.
    """
    there = next((each for each in (folder, *folder.parents) if each.is_dir()), folder)
    try:
        free_gb = shutil.disk_usage(there).free / 1e9
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Finding(
            *("disk", code, unwritable),
            f"{name}, {folder}, cannot be written to ({error.strerror or error}).",
            fix=fix,
            facts={"folder": str(folder), "free_gb": None},
        )
    facts = {"folder": str(folder), "free_gb": round(free_gb, 2)}
    told = f"{name}, {folder}, has {free_gb:,.1f} GB free."
    if free_gb < LITTLE_GB:
        level: Level = "fail" if free_gb < NOTHING_GB else "warn"
        return Finding("disk", code, level, told, fix=f"Free some space. {fix}", facts=facts)
    return Finding("disk", code, "pass", told, facts=facts)


def locks(folder: Path) -> Finding:
    """Say whether two processes that share a folder could keep out of each other's way there."""
    from hypergene.pipeline.cohort.locks import LockFolder

    kind = file_system(folder)
    facts: dict[str, Any] = {"folder": str(folder), "file_system": kind}
    on_network = kind is not None and kind.startswith(_NETWORK)
    where = f"a network file system ({kind})" if on_network else f"{kind or 'a file system'}"
    name = f".hypergene-doctor-{os.getpid()}"
    try:
        lock = LockFolder(folder).take(name)
        if lock is None:
            held = False
        else:
            second = LockFolder(folder).take(name)
            held = second is None
            skew_s = abs(lock.path.stat().st_mtime - time.time())
            for each in (lock, second):
                if each is not None:
                    each.release()
    except (HypergeneError, OSError):
        return Finding(
            *("disk", "locks", "warn", "Locks cannot be tried in the working folder: no rights."),
            fix="Work in a folder you may write to.",
            facts=facts,
        )
    if not held:
        return Finding(
            *("disk", "locks", "fail", f"A lock in {folder} does not keep a second one out."),
            fix="Let no two processes share an output folder there.",
            facts=facts,
        )
    facts["clock_skew_s"] = round(skew_s, 1)
    if skew_s > _SKEW_S:
        return Finding(
            *("disk", "locks", "warn"),
            f"Locks hold in {folder}, {where}, whose clock is {skew_s:,.0f} s off this machine's.",
            fix="Set both by a time server: times in logs and manifests will not agree.",
            facts=facts,
        )
    return Finding("disk", "locks", "pass", f"Locks hold in {folder}, {where}.", facts=facts)


def file_system(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return the kind of file system that a folder lies on, such as ``ext4`` or ``nfs4``.

    None where the system does not tell (not Linux).
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
        resolved = folder.resolve()
    except OSError:
        return None
    best: tuple[int, str] | None = None
    for line in lines:
        before, found, after = line.partition(" - ")
        parts = before.split()
        if not found or len(parts) < 5:
            continue
        point = Path(parts[4].replace("\\040", " "))
        # Of mounts one over the other, the last one is seen.
        if resolved.is_relative_to(point) and (best is None or len(point.parts) >= best[0]):
            best = (len(point.parts), after.split()[0])
    return None if best is None else best[1]
