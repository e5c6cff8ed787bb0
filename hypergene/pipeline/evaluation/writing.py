"""What an evaluation leaves behind: tables as CSV and Parquet, and one summary for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hypergene.errors import OutputError
from hypergene.output import atomic_path

SUMMARY, REPORT = "summary.json", "report.html"


def refuse_finished(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds an evaluation already.

    Raises
    ------
    OutputError
        It does, and may not be replaced; or it is a file.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file, not a folder.", hint="Give another --out.")
    if (out / SUMMARY).exists() and not overwrite:
        raise OutputError(
            f"{out} holds an evaluation already.",
            hint="Give --overwrite to replace it, or another --out.",
        )


def write_tables(out: Path, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Write each table that has rows as ``<name>.csv`` and ``<name>.parquet``; name the files."""
    written = []
    for name, table in tables.items():
        if table.empty:
            continue
        for suffix in ("csv", "parquet"):
            path = out / f"{name}.{suffix}"
            with atomic_path(path, overwrite=True) as draft:
                if suffix == "csv":
                    table.to_csv(draft, index=False, float_format="%.6g")
                else:
                    table.to_parquet(draft, index=False)
            written.append(path.name)
    return written


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_path(path, overwrite=True) as draft:
        draft.write_text(text, encoding="utf-8")


def as_json(value: Any) -> str:
    """Return JSON that any reader takes: what is no number is null."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Return plain values: tables as lists of rows, numbers to six digits, NaN as None."""
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.to_dict(orient="records")]
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value
