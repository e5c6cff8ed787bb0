"""The course of a training run as one CSV table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from hypergene.errors import OutputError
from hypergene.output import atomic_path


class MetricsLog:
    """Rows of numbers, one an epoch, kept in a CSV file that grows columns as they appear.

    Parameters
    ----------
    path
        The CSV file; rows of other phases in it are kept.
    phase
        Written beside every row.
    """

    def __init__(self, path: Path, phase: str) -> None:
        self.path, self.phase = path, phase

    def __call__(self, row: dict[str, float | int | str]) -> None:
        """Add a row; rows of this phase from the same epoch on are replaced (a resumed run).

        Raises
        ------
        OutputError
            The file cannot be written, or is no such table.
        """
        table = pd.DataFrame([{"phase": self.phase, **row}])
        if self.path.is_file():
            old = self._read()
            stale = (old["phase"] == self.phase) & (old["epoch"] >= int(row["epoch"]))
            table = pd.concat([old[~stale], table], ignore_index=True)
        with atomic_path(self.path, overwrite=True) as draft:
            table.to_csv(draft, index=False)

    def _read(self) -> pd.DataFrame:
        """Read all cells as text, so that no number changes by being read and written."""
        try:
            old = pd.read_csv(self.path, dtype=str, keep_default_na=False)
            return old.astype({"phase": str, "epoch": int})
        except (ValueError, KeyError, OSError) as error:  # pandas' parser errors are ValueErrors
            raise OutputError(
                f"{self.path} is not the table of a training run.", hint="Move it away."
            ) from error
