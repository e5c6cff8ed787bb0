"""Work done in a child process, where a crash, a hang or a flood of memory harms nobody."""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

_OVER_TIME = (signal.SIGXCPU, signal.SIGKILL)

#: Wall time a child may take, in its limit of processor time: machines are shared.
PATIENCE = 10


def in_child(
    work: Callable[[], tuple[str, str]], *, seconds: float, memory_mb: int | None = None
) -> tuple[str, str]:
    """Do some work in a child process; return what it returns, or how it ended instead.

    A child that takes more than `seconds` of processor time hangs, however busy the machine is; so
    does one that waits for :data:`PATIENCE` times as long.
    """
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")
        if memory_mb is not None:
            mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            limit = mapped + memory_mb * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds), math.ceil(seconds)))
        try:
            result = work()
        except BaseException:
            last = traceback.format_exc().strip().splitlines()
            result = "traceback", " | ".join([last[-1], *last[-7:-1]])
        try:
            with os.fdopen(sending, "wb") as pipe:
                pipe.write(json.dumps(result).encode())
        finally:
            os._exit(0)  # whatever happens: two processes must never go on from here
    os.close(sending)
    content, deadline = b"", time.monotonic() + PATIENCE * seconds
    ready = None
    try:
        with os.fdopen(receiving, "rb", buffering=0) as pipe:
            while ready := select.select([pipe], [], [], max(0, deadline - time.monotonic()))[0]:
                if not (piece := pipe.read(1 << 16)):
                    break
                content += piece
    finally:
        if not ready:
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not ready or (os.WIFSIGNALED(status) and os.WTERMSIG(status) in _OVER_TIME):
        return "hang", f"more than {seconds:g} s"
    if not content:
        code = os.waitstatus_to_exitcode(status)
        return "crash", signal.Signals(-code).name if code < 0 else f"exit code {code}"
    outcome, text = json.loads(content)
    return outcome, text
