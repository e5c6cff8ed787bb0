"""What a user is told when something cannot be done.

Every error that leaves the package is a :class:`HypergeneError`: one sentence that names what is
wrong and in which file, and a hint that says what to do about it. The command line prints exactly
these two and leaves with :attr:`HypergeneError.exit_code`; nobody is shown a traceback for bad
input.
"""

from __future__ import annotations

from typing import ClassVar


class HypergeneError(Exception):
    """Base of every error that hypergene raises on purpose.

    Parameters
    ----------
    message
        One sentence: what is wrong, in which file.
    hint
        What the user can do about it, if anything is known to help.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Return the sentence and, if there is one, the hint."""
        return f"{self.message} {self.hint}" if self.hint else self.message


def first_line(error: BaseException) -> str:
    """Return what a library's error says, to stand inside a sentence of ours.

    Parameters
    ----------
    error
        Of any library; its message may be long, or empty.

    Returns
    -------
    str
        The message's first line without a full stop; without a message the kind of error.
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


class UsageError(HypergeneError):
    """An argument or option that makes no sense, whatever the files hold."""

    exit_code: ClassVar[int] = 2


class SlideError(HypergeneError):
    """A slide that is missing, damaged, or not a slide."""


class ResolutionError(SlideError):
    """Microns per pixel that are missing, contradictory or implausible."""


class TissueError(SlideError):
    """No tissue where tissue is needed, or a tissue mask that does not fit the slide."""


class SpotsError(HypergeneError):
    """Spots or coordinates that are missing, malformed or outside the slide."""


class DataError(HypergeneError):
    """Spatial transcriptomics data that are missing, malformed or not counts."""


class NotCountsError(DataError):
    """Values where counts are needed that are none: normalised, scaled or fractional."""


class ModelError(HypergeneError):
    """A model that is unknown, incomplete, or not what its configuration says."""


class OutputError(HypergeneError):
    """An output that exists already or cannot be written."""


class StorageError(OutputError):
    """A disk that takes no more (full, over quota, read-only), whatever was to be written."""
