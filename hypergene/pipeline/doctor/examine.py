"""The list of checks, and how each is run: it may fail or hang, the examination does not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from hypergene.errors import HypergeneError
from hypergene.pipeline.doctor.finding import Finding
from hypergene.pipeline.outcome import REPORT_IT, unexpected

_REINSTALL = "Install hypergene again: pip install --force-reinstall hypergene."


@dataclass(frozen=True)
class Check:
    """A group of findings, and how long it may take.

    Attributes
    ----------
    group
        Name of the group.
    look
        Gives the findings, one by one.
    limit_s
        Seconds after which it is given up on.
    """

    group: str
    look: Callable[[], Iterable[Finding]]
    limit_s: float


def checks(*, offline: bool = False) -> list[Check]:
    """Return what is examined, in the order in which it is told."""
    return [
        _check("python", "python", 5),
        _check("torch", "torch_devices", 60),
        _check("slides", "slides", 20),
        _check("packages", "packages", 10),
        _check("machine", "machine", 10),
        _check("disk", "disk", 10),
        # A name server that is silent is beyond the time limit of the question itself.
        _check("hub", "hub", 9, offline=offline),
        _check("model", "model", 120),
    ]


def _check(group: str, module: str, limit_s: float, **arguments: Any) -> Check:
    """Return the check of a module here, which is imported with it: a package may be broken."""

    def look() -> Iterable[Finding]:
        found = import_module(f"hypergene.pipeline.doctor.{module}")
        found_by: Callable[..., Iterable[Finding]] = getattr(found, f"check_{group}")
        return found_by(**arguments)

    return Check(group, look, limit_s)


def examine(
    *, offline: bool = False, tell: Callable[[Finding], None] | None = None
) -> list[Finding]:
    """Examine whether hypergene works on this machine.

    Parameters
    ----------
    offline
        Do not ask the hub.
    tell
        Called with the findings of each check as soon as it is done.

    Returns
    -------
    list of Finding
        Nothing is raised: a check that fails is a finding that does.

    Examples
    --------
    >>> from hypergene.pipeline.doctor import examine
    >>> [finding.message for finding in examine() if finding.level == "fail"]  # doctest: +SKIP
    """
    found = []
    for check in checks(offline=offline):
        for finding in run_check(check):
            found.append(finding)
            if tell is not None:
                tell(finding)
    return found


def run_check(check: Check) -> list[Finding]:
    """Run one check in a thread of its own, and give up on it when its time is over.

    A driver, a network disk or a name server can hold a thread for ever; the thread is then left
    behind, and does not keep the process from ending.
    """
    found: list[Finding] = []
    failed: list[Exception] = []

    def look() -> None:
        try:
            for finding in check.look():
                found.append(finding)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=look, name=f"doctor-{check.group}", daemon=True)
    thread.start()
    thread.join(check.limit_s)
    told = list(found)
    if thread.is_alive():
        hung = f"This check gave no answer in {check.limit_s:g} s."
        fix = "See what holds it: a network disk, a driver, or a busy machine."
        told.append(Finding(check.group, "hung", "fail", hung, fix=fix))
    elif failed:
        told.append(_failed(check.group, failed[0]))
    return told


def _failed(group: str, error: Exception) -> Finding:
    if isinstance(error, HypergeneError):
        return Finding(group, "failed", "fail", error.message, fix=error.hint or REPORT_IT)
    if isinstance(error, ImportError):
        told = f"A package cannot be imported: {error}."
        return Finding(group, "failed", "fail", told, fix=_REINSTALL)
    return Finding(group, "failed", "fail", unexpected(error), fix=REPORT_IT)
