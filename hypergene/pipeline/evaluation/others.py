"""Another tool's predictions, read from AnnData or a table, for the samples they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from hypergene.errors import DataError, UsageError, first_line
from hypergene.pipeline.evaluation.matching import match_spots
from hypergene.st import UNITS, Sample, log1p_cp10k
from hypergene.st.formats.anndata_store import Stored, open_stored
from hypergene.st.genes import gene_table
from hypergene.training.expression import Measured

Units = Literal["log1p-cp10k", "counts", "other"]

_TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_STORES = (".h5ad", ".zarr")
_PLACES = (("x", "y"), ("pixel_x", "pixel_y"))
_SAMPLE_COLUMNS = ("sample", "library_id", "slide")


@dataclass(frozen=True, eq=False)
class Foreign:
    """Predictions of one sample, for its measured spots that have one.

    Attributes
    ----------
    spots
        int64 (k,): rows of the measured spots that are predicted.
    mean
        float32 (k, genes).
    std
        float32 (k, genes), or None.
    notes, warnings
        How spots were matched; what a careful user wants to read.
    """

    spots: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32] | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Table:
    """A prediction as it is in its file."""

    path: Path
    names: npt.NDArray[np.str_]
    xy_px: npt.NDArray[np.float64] | None
    sample: npt.NDArray[np.str_] | None
    var: pd.DataFrame
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32] | None
    units: Units | None


@dataclass(frozen=True, eq=False)
class Others:
    """Predictions of another tool: one file for one or several samples, or a folder of files.

    Parameters
    ----------
    path
        An .h5ad or .zarr (AnnData), a .csv or .tsv (plain or gzipped), or a folder with one such
        file a sample, named after the sample or its slide.
    units
        What the values are: ``"log1p-cp10k"`` as the truth is; ``"counts"``, which are brought
        there over the genes predicted; ``"other"``, of which only correlations are reported; None
        = as the file says, and if it says nothing, ``"other"``.
    layer
        Layer of an AnnData instead of ``X``.
    """

    path: Path
    units: Units | None = None
    layer: str | None = None
    _kept: dict[Path, _Table] = field(default_factory=dict, repr=False)

    def genes(self, samples: Sequence[Sample]) -> pd.DataFrame:
        """Return the genes predicted: those of the first sample's file (all must agree).

        Raises
        ------
        DataError
            Files of several samples differ in their genes.
        """
        first = self._read(self._file(samples[0], len(samples)))
        for sample in samples[1:]:
            other = self._read(self._file(sample, len(samples)))
            if not first.var.index.equals(other.var.index):
                raise DataError(
                    f"{first.path} and {other.path} predict different genes.",
                    hint="Give all samples the same genes in the same order.",
                )
        return first.var

    def scaled(self, samples: Sequence[Sample]) -> bool:
        """Tell whether the values are in the truth's units, or can be brought there."""
        return all(
            self._units(self._read(self._file(sample, len(samples)))) != "other"
            for sample in samples
        )

    def of(self, measured: Measured, samples: Sequence[Sample], pitch_px: float) -> Foreign:
        """Return the prediction of one sample.

        Parameters
        ----------
        measured
            The sample's data.
        samples
            All samples that are scored.
        pitch_px
            Distance of its neighbouring spots, px.

        Raises
        ------
        DataError
            No file of this sample, a file that is no prediction, or spots that do not match.
        """
        sample = measured.sample
        table = self._read(self._file(sample, len(samples)))
        own = np.arange(len(table.names))
        if table.sample is not None:
            own = np.flatnonzero(np.isin(table.sample, [sample.sample, sample.section or ""]))
            if not len(own):
                known = ", ".join(sorted(set(table.sample.tolist()))[:5])
                raise DataError(
                    f"{table.path} has no spot of {sample.sample} (it has samples {known}).",
                    hint="Name samples in its column 'sample' as the samples sheet does.",
                )
        match = match_spots(
            measured.obs.index.to_numpy(str),
            measured.xy_px,
            pitch_px,
            table.names[own],
            None if table.xy_px is None else table.xy_px[own],
            sample=sample.sample,
            source=str(table.path),
        )
        spots = np.flatnonzero(match.rows >= 0)
        rows = own[match.rows[spots]]
        mean = table.mean[rows]
        if self._units(table) == "counts":
            mean = np.asarray(log1p_cp10k(mean).toarray(), np.float32)
        warnings = [match.warning] if match.warning else []
        if (lost := len(measured) - len(spots)) > 0:
            warnings.append(
                f"{sample.sample}: {lost:,} of {len(measured):,} measured spots have no prediction "
                "and are not scored; a tool that leaves out difficult spots is flattered."
            )
        broken = ~np.isfinite(mean).all(axis=1)
        if broken.any():
            raise DataError(
                f"{table.path} has values that are not numbers in {int(broken.sum()):,} spots of "
                f"{sample.sample}.",
                hint="Leave those spots out, or predict them.",
            )
        return Foreign(
            spots,
            mean,
            None if table.std is None else table.std[rows],
            (match.how,),
            tuple(warnings),
        )

    def _units(self, table: _Table) -> Units:
        return self.units or table.units or "other"

    def _file(self, sample: Sample, number: int) -> Path:
        """Return the file that holds the prediction of a sample."""
        if self.path.suffix.lower() in _STORES or not self.path.is_dir():
            if number > 1 and self._read(self.path).sample is None:
                raise DataError(
                    f"{self.path} is one table, but there are {number} samples, and it does not "
                    "say which spot is of which.",
                    hint="Give it a column 'sample' (in AnnData in obs), a folder with a file a "
                    "sample, or score one sample.",
                )
            return self.path
        stems = [sample.sample, *([sample.slide.stem] if sample.slide is not None else [])]
        for stem in stems:
            for suffix in (*_STORES, *_TABLES):
                if (path := self.path / f"{stem}{suffix}").exists():
                    return path
        raise DataError(
            f"{self.path} has no prediction of {sample.sample} (looked for "
            f"{' and '.join(stems)} with {', '.join((*_STORES, *_TABLES))}).",
            hint="Name each file after its sample, or after its slide.",
        )

    def _read(self, path: Path) -> _Table:
        if path not in self._kept:
            # One sample's table at a time: another file drives the last one out.
            self._kept.clear()
            is_table = path.name.lower().endswith(_TABLES)
            if not is_table and path.suffix.lower() not in _STORES:
                raise UsageError(
                    f"{path} is no prediction that can be read.",
                    hint=f"Known are {', '.join((*_STORES, *_TABLES))}, or a folder of them.",
                )
            self._kept[path] = _from_table(path) if is_table else _from_store(path, self.layer)
        return self._kept[path]

    @cached_property
    def name(self) -> str:
        """What the tool is called in tables and figures: the file's name."""
        stem = self.path.name
        for suffix in (*_TABLES, *_STORES):
            stem = stem.removesuffix(suffix)
        return stem


def _from_store(path: Path, layer: str | None) -> _Table:
    with open_stored(path) as stored:
        key = "X" if layer is None else f"layers/{layer}"
        if not stored.has(key):
            raise DataError(
                f"{path} has no {key}, where its prediction would be.",
                hint=f"Its layers are {', '.join(stored.keys('layers')) or 'none'}: name one with "
                "--layer.",
            )
        names = stored.names("obs")
        symbols = stored.names("var")
        ids = None
        if "gene_ids" in stored.columns("var"):
            ids = stored.column("var", "gene_ids").fillna("").astype(str).tolist()
        shape = (len(names), len(symbols))
        xy = None
        if stored.has("obsm/spatial"):
            xy = _places(path, stored.read("obsm/spatial"), len(names))
        column = next((c for c in _SAMPLE_COLUMNS if c in stored.columns("obs")), None)
        sample = None
        if column is not None:
            sample = _whose(column, stored.column("obs", column))
        units: Units | None = None
        if stored.has("uns/hypergene/units") and str(stored.read("uns/hypergene/units")) == UNITS:
            units = "log1p-cp10k"
        mean = _matrix(stored, key, shape)
        std = _matrix(stored, "layers/std", shape) if stored.has("layers/std") else None
    return _checked(
        _Table(
            path,
            names.to_numpy(str),
            xy,
            sample,
            gene_table(symbols.tolist(), ids),
            mean,
            std,
            units,
        )
    )


def _whose(column: str, values: pd.Series) -> npt.NDArray[np.str_] | None:
    """Return the sample of each spot; a library or slide that all spots share tells none apart."""
    if column != "sample" and values.nunique() < 2:
        return None
    return np.asarray(values.astype(str), np.str_)


def _places(path: Path, stored: Any, spots: int) -> npt.NDArray[np.float64]:
    try:
        xy = np.asarray(stored, np.float64)
    except (TypeError, ValueError):
        xy = np.empty(0)
    if xy.ndim != 2 or len(xy) != spots or xy.shape[1] < 2:
        raise DataError(
            f'obsm["spatial"] of {path} holds no x and y of {spots:,} spots.',
            hint="It must be of shape (spots, 2): spot centres in level-0 px.",
        )
    return xy[:, :2]


def _matrix(stored: Stored, key: str, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Read a matrix dense, block by block."""
    table = np.empty(shape, np.float32)
    row = column = 0
    for block in stored.blocks(key, shape):
        height, width = block.shape
        table[row : row + height, column : column + width] = block.toarray()
        row, column = (row + height, 0) if width == shape[1] else (0, column + width)
    return table


def _from_table(path: Path) -> _Table:
    separator = "\t" if ".tsv" in path.suffixes else ","
    if not path.is_file():
        raise DataError(f"There is no file {path}.", hint="Check the path.")
    try:
        frame = pd.read_csv(path, sep=separator, index_col=0, dtype={0: str})
        # pandas numbers columns of one name; genes of one symbol are numbered as everywhere here.
        header = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str).iloc[0, 1:]
        frame.columns = pd.Index(header.astype(str).str.strip())
    except Exception as reason:  # pandas, gzip and codecs fail in many ways
        raise DataError(
            f"{path} is not a table of predictions: {first_line(reason)}.",
            hint="A line a spot, its name first, then a column a gene.",
        ) from None
    frame.index = frame.index.map(str)
    sample = None
    column = next((name for name in _SAMPLE_COLUMNS if name in frame), None)
    if column is not None:
        sample = _whose(column, frame.pop(column))
    xy = None
    for pair in _PLACES:
        if set(pair) <= set(frame.columns):
            places = pd.concat([frame.pop(name) for name in pair], axis=1)
            xy = places.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
            break
    kinds = [dtype.kind for dtype in frame.dtypes]
    text = [name for name, kind in zip(frame, kinds, strict=True) if kind not in "iufb"]
    if text:
        raise DataError(
            f"{path} has a column {text[0]!r} that holds no numbers.",
            hint="A line a spot, its name first, then (if wanted) sample, x and y, then genes.",
        )
    var = gene_table([str(name) for name in frame.columns]) if len(frame.columns) else None
    if var is None or not len(frame):
        raise DataError(f"{path} holds no prediction.", hint="A line a spot and a column a gene.")
    return _checked(
        _Table(
            path,
            frame.index.to_numpy(str),
            xy,
            sample,
            var,
            frame.to_numpy(np.float32),
            None,
            None,
        )
    )


def _checked(table: _Table) -> _Table:
    if not table.mean.size:
        raise DataError(f"{table.path} holds no prediction.", hint="It has no spots or no genes.")
    if table.std is not None and not (np.isfinite(table.std).all() and (table.std >= 0).all()):
        raise DataError(
            f"The spread in {table.path} has values below 0, or that are not numbers.",
            hint="Standard deviations are 0 or more; leave the layer std out if there are none.",
        )
    if table.xy_px is not None and not np.isfinite(table.xy_px).all():
        raise DataError(
            f"{table.path} has places that are not numbers.", hint="Give every spot x and y in px."
        )
    return table
