"""A prediction as one table, spots in rows: CSV with its description, or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hypergene.output.atomic import atomic_path
from hypergene.output.export.chosen import Chosen

if TYPE_CHECKING:
    import pyarrow as pa
    from anndata import AnnData

_PLACES = {"spot": "", "x_px": "px", "y_px": "px", "x_um": "µm", "y_um": "µm"}
"""The first columns and their units: the spot's name, and its centre on level 0 of the slide."""

_UNITS_OF_OBS = {"tissue_fraction": "share, 0..1", "ood_score": "share, 0..1"}


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes
    ----------
    name
        Unique in the table.
    about
        What its values are.
    unit
        Of the values; empty where they have none.
    predicted
        Whether they are predicted expression or its spread.
    """

    name: str
    about: str
    unit: str = ""
    predicted: bool = False


def write_csv(chosen: Chosen, path: Path, *, overwrite: bool = False) -> None:
    """Write spots × (place, ``obs``, genes, spread) as CSV, in blocks.

    Beside it stands ``<path>-metadata.json``, which says what each column is and its unit, in the
    form of the W3C's "CSV on the Web".

    Parameters
    ----------
    chosen
        The prediction, its genes, and whether the spread is wanted.
    path
        The file, ``.csv``: UTF-8, commas, one line of names.
    overwrite
        Whether earlier files may be replaced.

    Raises
    ------
    OutputError
        If a file exists and may not be replaced, or cannot be written.
    DataError
        If the prediction is damaged.

    References
    ----------
    W3C, Metadata Vocabulary for Tabular Data (2015): where the description of a CSV file stands.
    """
    from pyarrow import csv

    columns = _columns(chosen)
    said = path.with_name(f"{path.name}-metadata.json")
    with (
        atomic_path(said, overwrite=overwrite) as description,
        atomic_path(path, overwrite=overwrite) as draft,
    ):
        description.write_text(_described(chosen, columns, path.name), encoding="utf-8")
        schema = _schema(chosen, columns)
        with csv.CSVWriter(str(draft), schema) as writer:
            for block in _tables(chosen, schema):
                writer.write(block)


def write_parquet(chosen: Chosen, path: Path, *, overwrite: bool = False) -> None:
    """Write spots × (place, ``obs``, genes, spread) as Parquet, a row group a block.

    The schema's metadata has under ``hypergene`` what the numbers are, as JSON, and under
    ``about``, ``unit`` and ``predicted`` of each column what its values are.

    Parameters
    ----------
    chosen
        The prediction, its genes, and whether the spread is wanted.
    path
        The file, ``.parquet``.
    overwrite
        Whether an earlier file may be replaced.

    Raises
    ------
    OutputError
        If the file exists and may not be replaced, or cannot be written.
    DataError
        If the prediction is damaged.
    """
    from pyarrow import parquet

    schema = _schema(chosen, _columns(chosen))
    with (
        atomic_path(path, overwrite=overwrite) as draft,
        parquet.ParquetWriter(str(draft), schema, compression="zstd") as writer,
    ):
        for block in _tables(chosen, schema):
            writer.write_table(block)


def _columns(chosen: Chosen) -> list[Column]:
    """Return the columns, every name once: genes step back behind what describes the spots."""
    columns = [
        Column(name, "name of the spot" if name == "spot" else "centre of the spot", unit)
        for name, unit in _PLACES.items()
    ]
    columns += [
        Column(str(name), f"obs[{name!r}], see docs/output-format.md", _UNITS_OF_OBS.get(name, ""))
        for name in chosen.prediction.obs
    ]
    taken = {column.name for column in columns}
    for layer in (None, *chosen.layers):
        for gene in chosen.genes:
            name = gene if layer is None else f"{gene}_{layer}"
            while name in taken:
                name += " (gene)" if layer is None else f" ({layer})"
            taken.add(name)
            about = f"predicted expression of {gene}"
            if layer is not None:
                about = f"predicted standard deviation of {gene} around its prediction"
            columns.append(Column(name, about, chosen.units, predicted=True))
    return columns


def _schema(chosen: Chosen, columns: Sequence[Column]) -> pa.Schema:
    import pyarrow as pa

    spots = len(_PLACES)
    kinds = [pa.string(), *[pa.float64()] * (spots - 1)]
    kinds += [_kind(chosen.prediction.obs[name]) for name in chosen.prediction.obs]
    kinds += [pa.float32()] * (len(columns) - len(kinds))
    fields = [
        pa.field(
            column.name,
            kind,
            metadata={
                "about": column.about,
                "unit": column.unit,
                "predicted": str(column.predicted).lower(),
            },
        )
        for column, kind in zip(columns, kinds, strict=True)
    ]
    return pa.schema(fields, metadata={"hypergene": json.dumps(chosen.about)})


def _kind(values: pd.Series[Any]) -> pa.DataType:
    import pyarrow as pa

    plain = isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf"
    return pa.from_numpy_dtype(values.dtype) if plain else pa.string()


def _tables(chosen: Chosen, schema: pa.Schema) -> Iterator[pa.Table]:
    import pyarrow as pa

    spots = chosen.spots
    for rows, block in chosen.blocks():
        x_px, y_px = spots.xy_px[rows].T
        x_um, y_um = spots.xy_um[rows].T
        values = [spots.names[rows].astype(object), x_px, y_px, x_um, y_um]
        values += [_plain(block.obs[name]) for name in block.obs]
        values += [matrix[:, column] for matrix in _matrices(block, chosen)
                   for column in range(len(chosen.genes))]  # fmt: skip
        arrays = [
            pa.array(np.ascontiguousarray(column), type=field.type, from_pandas=True)
            for column, field in zip(values, schema, strict=True)
        ]
        yield pa.Table.from_arrays(arrays, schema=schema)


def _plain(values: pd.Series[Any]) -> Any:
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf":
        return values.to_numpy()
    text = values.astype(object)
    return text.where(text.isna(), text.astype(str)).to_numpy()


def _matrices(block: AnnData, chosen: Chosen) -> list[Any]:
    return [block.X, *(block.layers[layer] for layer in chosen.layers)]


def _described(chosen: Chosen, columns: Sequence[Column], url: str) -> str:
    described = {
        "@context": "http://www.w3.org/ns/csvw",
        "url": url,
        "dc:description": chosen.statement,
        "hypergene:about": chosen.about,
        "tableSchema": {
            "columns": [
                {
                    "titles": column.name,
                    "dc:description": column.about,
                    "hypergene:unit": column.unit,
                    "hypergene:predicted": column.predicted,
                }
                for column in columns
            ]
        },
    }
    return json.dumps(described, ensure_ascii=False, indent=1)
