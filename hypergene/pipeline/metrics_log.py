"""The course of a training run as one CSV table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


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
        """Add a row; rows of this phase from the same epoch on are replaced (a resumed run)."""
        now = pd.DataFrame([{"phase": self.phase, **row}])
        if self.path.is_file():
            old = pd.read_csv(self.path)
            stale = (old["phase"] == self.phase) & (old["epoch"] >= row["epoch"])
            now = pd.concat([old[~stale], now], ignore_index=True)
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        now.to_csv(temporary, index=False)
        temporary.replace(self.path)
