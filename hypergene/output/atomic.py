"""Files and folders that appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hypergene.errors import OutputError

_FAILED_WRITES = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
)
"""What an ``OSError`` that names no file says when it is the output's fault, not an input's."""


@contextmanager
def atomic_path(final: Path, *, overwrite: bool) -> Iterator[Path]:
    """Lend a temporary path that becomes ``final`` when the block ends well.

    Write a file or a folder at the path that is lent. It is a hidden sibling of ``final``
    (``.<name>.<pid>-<random>.tmp``), so the last step is a rename on one disk. If the block raises,
    it is removed, and what stood at ``final`` stays as it was. Missing parent folders are made.

    The suffix is gone: a writer that chooses its format by the suffix must be told the format.

    Parameters
    ----------
    final
        Where the output is to stand.
    overwrite
        Whether what stands there may be replaced. A file replaces a file and a folder a folder; the
        old one goes only when the new one is whole.

    Yields
    ------
    pathlib.Path
        The temporary path. Nothing stands there yet.

    Raises
    ------
    OutputError
        If ``final`` exists and may not be replaced, its folder cannot be written to, or the disk
        refuses what the block writes (full, over quota, no permission). Whatever else the block
        raises passes through unchanged.

    Notes
    -----
    A process that is killed outright leaves its temporary sibling behind, never a half ``final``.
    A folder is replaced by two renames; killed between these, the old one is left as
    ``.<name>.<pid>-<random>.old``.
    """
    final = Path(final)
    _refuse_existing(final, overwrite=overwrite)
    # Part of a name, since the whole with its additions may be longer than a file system takes.
    draft = final.parent / f".{final.name[:60]}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        # Trying is the only test of permission that holds for root and for network disks.
        draft.touch(exist_ok=False)
        draft.unlink()
    except OSError as error:
        raise _unwritable(final, error) from error

    try:
        yield draft
        _refuse_existing(final, overwrite=overwrite)
        _move_into_place(draft, final)
    except OSError as error:
        _remove(draft)
        if _is_ours(error, draft, final):
            raise _unwritable(final, error) from error
        raise
    except BaseException:
        _remove(draft)
        raise


def _refuse_existing(final: Path, *, overwrite: bool) -> None:
    if os.path.lexists(final) and not overwrite:
        raise OutputError(
            f"{final} exists already.", hint="Give --overwrite to replace it, or another -o."
        )


def _move_into_place(draft: Path, final: Path) -> None:
    """Rename ``draft`` to ``final``, replacing a file by a file or a folder by a folder."""
    if not os.path.lexists(final):
        draft.rename(final)
        return
    if final.is_dir() != draft.is_dir():
        stands, comes = ("folder", "file") if final.is_dir() else ("file", "folder")
        raise OutputError(
            f"{final} is a {stands} and the output is a {comes}, so it is not replaced.",
            hint=f"Move the {stands} away, or give another -o.",
        )
    if not final.is_dir():
        draft.replace(final)
        return
    old = draft.with_suffix(".old")
    final.rename(old)
    try:
        draft.rename(final)
    except BaseException:
        old.rename(final)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    """Remove a file or folder as far as it can be; what went wrong before matters more."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _is_ours(error: OSError, draft: Path, final: Path) -> bool:
    """Tell a failure to write the output from a failure to read something else in the block."""
    if isinstance(error.filename, str | os.PathLike):
        named = Path(error.filename)
        return named == final or named.is_relative_to(draft)
    return error.errno in _FAILED_WRITES


def _unwritable(final: Path, error: OSError) -> OutputError:
    hints = {
        errno.ENOSPC: "Free some space, or give a folder on another disk with -o.",
        errno.EDQUOT: "Free some space, or give a folder on another disk with -o.",
        errno.ENOTDIR: "Part of the path is a file; give another -o.",
        errno.EEXIST: "Part of the path is a file; give another -o.",
    }
    return OutputError(
        f"{final} cannot be written ({error.strerror or error}).",
        hint=hints.get(error.errno or 0, "Give a folder you may write to with -o."),
    )
