"""Parts of the package that are to say less for a while."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(room: str, level: int) -> Iterator[None]:
    """Keep a part of the package from logging what lies below a level.

    Parameters
    ----------
    room
        Name of its logger, such as ``"hypergene.st"``.
    level
        Of :mod:`logging`; the one before comes back at the end.
    """
    log = logging.getLogger(room)
    before = log.level
    log.setLevel(level)
    try:
        yield
    finally:
        log.setLevel(before)
