"""The process of a local worker: ``python -m hypergene.pipeline.cohort.worker DESCRIPTOR``."""

from __future__ import annotations

import io
import os
import queue
import sys
import threading
from multiprocessing.connection import Connection

from hypergene.pipeline.cohort.jobs import Job
from hypergene.pipeline.cohort.work import work


class _NoTerminal(io.TextIOWrapper):
    """Standard error that is nowhere shown as it comes."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(io.FileIO(descriptor, "w"), "utf-8", "replace", write_through=True)

    def isatty(self) -> bool:
        return False


def main(descriptor: int) -> None:
    """Work off slides that come through a pipe, until it is closed.

    Parameters
    ----------
    descriptor
        Of the worker's end of the pipe.
    """
    connection = Connection(descriptor)
    come: queue.SimpleQueue[tuple[Job, int]] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                come.put(connection.recv())
        except (EOFError, OSError):
            os._exit(1)  # whoever started us is dead: nobody may find us writing

    threading.Thread(target=listen, daemon=True).start()
    # Bars of several processes would write over one another; the slides' own bar is the parent's.
    sys.stderr = _NoTerminal(os.dup(2))
    while True:
        connection.send(work(*come.get()))


if __name__ == "__main__":
    main(int(sys.argv[1]))
