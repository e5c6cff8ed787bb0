"""Locks by which processes and machines that share a folder do no slide twice.

A lock is a file that only one process can create (``O_EXCL``, which network file systems keep, too;
``flock`` many do not). Its owner touches it every few seconds. A lock is stale when its owner is a
dead process of this machine, or when it has not been touched for a while *as seen from here*: the
clocks of two machines are never compared.

Files are ``<name>.<generation>.lock``, and the highest generation holds the lock. Who finds a stale
one creates the next generation and only then removes the old one, so of several that find it only
one gets it.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypergene.errors import OutputError
from hypergene.output.atomic import is_alive, unwritable

BEAT_S = 15.0
"""Seconds between two signs of life of a lock."""

SILENCE_S = 180.0
"""Seconds without a sign of life after which a lock of another machine is stale.

Network file systems may show a change a minute late.
"""

_PROC = Path("/proc/self/stat")

_HELD: set[str] = set()
"""Tokens of the locks that this process holds: an earlier run in it may have left others behind."""

_UNSEEN: tuple[Any, float, int] = (None, 0.0, -1)


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes
    ----------
    host, pid
        The machine's name and the process.
    machine
        Boot and process namespace of the machine: only where they are the same does `pid` mean
        anything. Empty where the system does not tell.
    born
        When the process started, in ticks since boot; tells it from a later one of the same number.
    job
        Slurm's number of the job, for people.
    since
        When the lock was taken, ISO 8601, UTC.
    token
        Random, so that an owner knows its lock.
    may_replace
        Whether what stands at the output may be replaced by this owner or whoever follows it.
    """

    host: str
    pid: int
    machine: str
    born: str
    job: str
    since: str
    token: str
    may_replace: bool = False

    @classmethod
    def this_process(cls) -> Owner:
        """Return this process as an owner, with a new token."""
        return cls(
            host=platform.node(),
            pid=os.getpid(),
            machine=_machine(),
            born=_born(os.getpid()),
            job=os.environ.get("SLURM_JOB_ID", ""),
            since=now(),
            token=secrets.token_hex(8),
        )

    @property
    def is_dead(self) -> bool:
        """Whether this is surely a process of this machine that holds it no more."""
        if not self.machine or self.machine != _machine():
            return False
        if _born(self.pid) != self.born:
            return True
        return self.pid == os.getpid() and self.token not in _HELD

    def __str__(self) -> str:
        """Return the process and its machine as a person would say it."""
        job = f", Slurm job {self.job}" if self.job else ""
        return f"process {self.pid} on {self.host}{job}"


@dataclass(frozen=True)
class Lock:
    """A lock that this process holds."""

    path: Path
    owner: Owner

    def is_held(self) -> bool:
        """Whether nobody took it for stale meanwhile (this machine may have slept)."""
        there = _read(self.path)
        if there is None or there.token != self.owner.token:
            return False
        found = _highest(self.path.parent, _split(self.path.name)[0])
        return found is not None and found == self.path

    def beat(self) -> None:
        """Show that the owner lives."""
        with suppress(OSError):
            os.utime(self.path)

    def release(self) -> None:
        """Let go of it; of one that was lost, leave the new owner's alone."""
        there = _read(self.path)
        if there is not None and there.token == self.owner.token:
            with suppress(OSError):
                self.path.unlink()
        self.abandon()

    def abandon(self) -> None:
        """Hold it no more, but leave it for others to find: what it was taken for is not done."""
        _HELD.discard(self.owner.token)


@dataclass
class LockFolder:
    """The locks of one output folder.

    Parameters
    ----------
    folder
        Where lock files lie; it exists.
    silence_s
        Seconds without a sign of life after which another machine's lock is stale.
    """

    folder: Path
    silence_s: float = SILENCE_S
    _seen: dict[Path, tuple[Any, float, int]] = field(default_factory=dict)

    def take(self, name: str, *, may_replace: bool = False) -> Lock | None:
        """Take a lock, over a stale one if need be.

        Parameters
        ----------
        name
            What is locked.
        may_replace
            Kept in the lock, see :class:`Owner`; a stale lock that has it hands it on.

        Returns
        -------
        Lock or None
            None if somebody holds it who may be alive.

        Raises
        ------
        OutputError
            The folder cannot be written to.
        """
        highest = _highest(self.folder, name)
        generation = 1
        if highest is not None:
            if not self._is_stale(highest):
                return None
            before = _read(highest)
            may_replace = may_replace or (before is not None and before.may_replace)
            generation = _split(highest.name)[1] + 1
        owner = replace(Owner.this_process(), may_replace=may_replace)
        path = self.folder / f"{name}.{generation}.lock"
        if not _create(path, json.dumps(asdict(owner))):
            return None
        _HELD.add(owner.token)
        if _highest(self.folder, name) != path:  # somebody followed the owner before us
            Lock(path, owner).release()
            return None
        for older in _all(self.folder, name):
            if older != path:
                with suppress(OSError):
                    older.unlink()
        return Lock(path, owner)

    def owner(self, name: str) -> Owner | None:
        """Return who holds a lock or left it behind; None if nobody, or it cannot be read."""
        highest = _highest(self.folder, name)
        return None if highest is None else _read(highest)

    def is_locked(self, name: str) -> bool:
        """Whether there is a lock, stale or not."""
        return _highest(self.folder, name) is not None

    def is_alive(self, name: str) -> bool:
        """Whether the lock was touched while this process was looking."""
        highest = _highest(self.folder, name)
        if highest is None or self._is_stale(highest):
            return False
        return self._seen.get(highest, _UNSEEN)[2] > 0

    def _is_stale(self, path: Path) -> bool:
        owner = _read(path)
        if owner is not None and owner.is_dead:
            return True
        try:
            at = path.stat()
        except OSError:  # released meanwhile
            return False
        stamp = (at.st_mtime_ns, at.st_ino)
        before, since, beats = self._seen.get(path, _UNSEEN)
        if before != stamp:
            self._seen[path] = (stamp, time.monotonic(), beats + 1)
            return False
        return time.monotonic() - since > self.silence_s


class Heart:
    """Touches the locks that are held, from a thread of its own, until closed."""

    def __init__(self, beat_s: float = BEAT_S) -> None:
        self._beat_s = beat_s
        self._locks: set[Lock] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="locks", daemon=True)
        self._thread.start()

    def add(self, lock: Lock) -> None:
        """Keep a lock alive from now on."""
        self._locks = self._locks | {lock}

    def release(self, lock: Lock) -> None:
        """Let a lock go."""
        self._locks = self._locks - {lock}
        lock.release()

    def abandon(self, lock: Lock) -> None:
        """Give a lock no more signs of life, see :meth:`Lock.abandon`."""
        self._locks = self._locks - {lock}
        lock.abandon()

    def close(self) -> None:
        """Stop, and let go of what is still held."""
        self._stop.set()
        self._thread.join()
        for lock in self._locks:
            lock.release()

    def _run(self) -> None:
        while not self._stop.wait(self._beat_s):
            for lock in self._locks:
                lock.beat()


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _create(path: Path, content: str) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:  # a full disk may hold a name, and nothing more
        with suppress(OSError):
            path.unlink()
        raise unwritable(path, error) from error
    return True


def _read(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # gone, or cut short by a kill
        return None


def _split(file_name: str) -> tuple[str, int]:
    name, generation, _ = file_name.rsplit(".", 2)
    return name, int(generation)


def _all(folder: Path, name: str) -> Iterable[Path]:
    prefix = f"{name}."
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be read ({error.strerror or error}).", hint="Check its permissions."
        ) from error
    for file_name in names:
        middle = file_name.removeprefix(prefix).removesuffix(".lock")
        if file_name == f"{prefix}{middle}.lock" and middle.isdecimal():
            yield folder / file_name


def _highest(folder: Path, name: str) -> Path | None:
    return max(_all(folder, name), key=lambda path: _split(path.name)[1], default=None)


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux: no namespaces either
        return platform.node()


def _born(pid: int) -> str:
    """Return when a process started, in ticks since boot, if known; "" if it lives no more."""
    if not _PROC.exists():
        return "unknown" if is_alive(pid) else ""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else rest[18]
