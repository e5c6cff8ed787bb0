"""Outputs of a job: under a temporary name until whole, and no trace of one that failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hypergene.errors import OutputError
from hypergene.output import atomic_path

_MARKS = frozenset({"zarr.json", ".zgroup", ".zarray", "config.json"})


@contextmanager
def draft_of(final: Path, *, overwrite: bool) -> Iterator[Path]:
    """Lend a temporary path that becomes `final` when the block ends well.

    As :func:`hypergene.output.atomic_path`, and if the block fails, the folders that were made for
    `final` go again, and the error names `final` even where a writer was handed the draft.

    Parameters
    ----------
    final
        Where the output is to stand.
    overwrite
        Whether what stands there may be replaced.

    Yields
    ------
    pathlib.Path
        The temporary path. Nothing stands there yet.

    Raises
    ------
    OutputError
        If `final` exists and may not be replaced, or cannot be written. A folder may be replaced
        only if it is empty or an output of ours: a mistyped path must never cost anyone a folder
        of other things.
    """
    if final.is_dir() and not _is_output(final):
        raise OutputError(
            f"{final} is a folder of other things, so it is not replaced.",
            hint="Move it away, or give another -o.",
        )
    made = [folder for folder in final.parents if not folder.exists()]
    try:
        with atomic_path(final, overwrite=overwrite) as draft:
            try:
                yield draft
            except OutputError as error:
                message = error.message.replace(draft.name, final.name)
                raise OutputError(message, hint=error.hint) from error
    except BaseException:
        for folder in made:
            with suppress(OSError):  # not made after all, or not empty
                folder.rmdir()
        raise


def _is_output(folder: Path) -> bool:
    """Tell whether a folder is a Zarr store or a model, or empty."""
    try:
        names = {entry.name for entry in folder.iterdir()}
    except OSError:
        return False
    return not names or not names.isdisjoint(_MARKS)
