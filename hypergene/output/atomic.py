"""Files and folders that appear under their name only when they are whole."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hypergene.errors import OutputError, StorageError

_FAILED_WRITES = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
)
"""What an ``OSError`` that names no file says when it is the output's fault, not an input's."""

_STORAGE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""What the disk says that it would say to every other output, too."""

_TRIES, _SETTLE_S = 20, 0.05

_OUTPUTS = frozenset({"zarr.json", ".zgroup", ".zarray", "config.json", "vitessce.json"})
"""Files by which a folder is known as an output: a Zarr store, a model or an export."""

_LONGEST = 60
"""Characters of a name in that of its draft: the whole may be longer than a file system takes."""

_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)-[0-9a-f]{8}\.(?P<kind>tmp|old)", re.DOTALL)


@contextmanager
def atomic_path(final: Path, *, overwrite: bool) -> Iterator[Path]:
    """Lend a temporary path that becomes ``final`` when the block ends well.

    Write a file or a folder at the path that is lent. It is a hidden sibling of ``final``
    (``.<name>.<pid>-<random>.tmp``), so the last step is a rename on one disk. If the block raises,
    it is removed together with the folders that were made for it, and what stood at ``final`` stays
    as it was. Missing parent folders are made.

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
        If ``final`` exists and may not be replaced, is a folder that is neither empty nor an output
        (a mistyped path must never cost anyone a folder of other things), its folder cannot be
        written to, or the disk refuses what the block writes. The error of a writer that was handed
        the temporary path names ``final``. Whatever else the block raises passes through unchanged.
    StorageError
        If the disk is full, over quota or read-only.

    Notes
    -----
    A process that is killed outright leaves its temporary sibling behind, never a half ``final``.
    A folder is replaced by two renames; killed between these, the old one is left as
    ``.<name>.<pid>-<random>.old``. See :func:`remove_leftovers`.
    """
    final = Path(final)
    _refuse_other_things(final)
    _refuse_existing(final, overwrite=overwrite)
    name = f".{_name_in_drafts(final)}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    draft = final.parent / name
    made = [folder for folder in final.parents if not folder.exists()]
    try:
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            # Trying is the only test of permission that holds for root and for network disks.
            draft.touch(exist_ok=False)
            draft.unlink()
        except OSError as error:
            raise unwritable(final, error) from error
        try:
            yield draft
            _refuse_existing(final, overwrite=overwrite)
            _move_into_place(draft, final)
        except OSError as error:
            if _is_ours(error, draft, final):
                raise unwritable(final, error) from error
            raise
        except OutputError as error:
            if draft.name in error.message:
                message = error.message.replace(draft.name, final.name)
                raise type(error)(message, hint=error.hint) from error
            raise
    except BaseException:
        _clear_away(draft)
        for folder in made:
            with suppress(OSError):  # not made after all, or others use it meanwhile
                folder.rmdir()
        raise


def remove_leftovers(final: Path, *, dead: Collection[int] | None = ()) -> None:
    """Remove what killed processes left of an output.

    Only for whoever alone may write ``final`` now, such as the holder of its lock. An earlier
    output that was being replaced when the process was killed is put back.

    Parameters
    ----------
    final
        The output that they were writing.
    dead
        Numbers of processes that are known not to be writing it, though they may be alive: those of
        the caller; None = all. Leftovers that bear the number of another living process are let be.
    """
    if not final.parent.is_dir():
        return
    for path in list(final.parent.iterdir()):
        found = _LEFTOVER.fullmatch(path.name)
        if found is None or found["name"] != _name_in_drafts(final):
            continue
        pid = int(found["pid"])
        if dead is not None and pid not in dead and is_alive(pid):
            continue
        if found["kind"] == "old" and not os.path.lexists(final):
            with suppress(OSError):
                path.rename(final)
        else:
            _remove(path)


def _name_in_drafts(final: Path) -> str:
    """Return what stands for an output in the names of its drafts: no two outputs share it."""
    of_draft = _LEFTOVER.fullmatch(final.name)
    if of_draft is not None:  # a draft of a draft belongs to the output, too
        return of_draft["name"]
    if len(final.name) <= _LONGEST:
        return final.name
    digest = hashlib.sha256(os.fsencode(final.name)).hexdigest()
    return f"{final.name[: _LONGEST - 9]}~{digest[:8]}"


def is_alive(pid: int) -> bool:
    """Whether a process of this number lives on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _refuse_other_things(final: Path) -> None:
    if not final.is_dir():
        return
    try:
        names = {entry.name for entry in final.iterdir()}
    except OSError as error:
        raise unwritable(final, error) from error
    if names and names.isdisjoint(_OUTPUTS):
        raise OutputError(
            f"{final} is a folder of other things, so it is not replaced.",
            hint="Move it away, or give another -o.",
        )


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


def _clear_away(draft: Path) -> None:
    """Remove a draft for good: threads of a store that failed may still put files into it."""
    for _ in range(_TRIES):
        _remove(draft)
        time.sleep(_SETTLE_S)
        if not os.path.lexists(draft):
            return


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


def unwritable(final: Path, error: OSError) -> OutputError:
    """Return the sentence for an output that the system refused to write."""
    hints = {
        errno.ENOSPC: "Free some space, or give a folder on another disk with -o.",
        errno.EDQUOT: "Free some space, or give a folder on another disk with -o.",
        errno.ENOTDIR: "Part of the path is a file; give another -o.",
        errno.EEXIST: "Part of the path is a file; give another -o.",
    }
    kind = StorageError if error.errno in _STORAGE else OutputError
    return kind(
        f"{final} cannot be written ({error.strerror or error}).",
        hint=hints.get(error.errno or 0, "Give a folder you may write to with -o."),
    )
