"""The course of a training run for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hypergene.errors import OutputError, UsageError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def check_tensorboard() -> None:
    """Refuse to go on without TensorBoard.

    Raises
    ------
    UsageError
        It is not installed.
    """
    _writer()


def _writer() -> Callable[..., SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "Logs for TensorBoard need the package tensorboard, which is not installed.",
            hint="Install it with pip install 'hypergene[tensorboard]'.",
        ) from error
    return SummaryWriter


class TensorBoardLog:
    """Rows of numbers, one an epoch, as curves: look at them with ``tensorboard --logdir FOLDER``.

    Each phase is a run of its own. A row of an epoch that was there before (a resumed run) hides
    what came after it.

    Parameters
    ----------
    folder
        Folder of all runs.
    phase
        Name of this one.

    Raises
    ------
    UsageError
        TensorBoard is not installed.
    """

    def __init__(self, folder: Path, phase: str) -> None:
        self.folder = folder / phase
        self._make = _writer()
        self._open: SummaryWriter | None = None

    def __call__(self, row: dict[str, float | int | str]) -> None:
        """Add a row of numbers at its epoch.

        Raises
        ------
        OutputError
            The folder cannot be written.
        """
        epoch = int(row["epoch"])
        try:
            if self._open is None:
                self._open = self._make(str(self.folder), purge_step=epoch)
            for name, value in row.items():
                if name != "epoch" and not isinstance(value, str):
                    self._open.add_scalar(name.replace(" ", "_"), value, epoch)
            self._open.flush()
        except OSError as error:
            raise OutputError(
                f"The folder {self.folder} cannot be written: {error.strerror or error}.",
                hint="Free some space, or choose another --out.",
            ) from error
