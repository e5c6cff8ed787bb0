"""A prediction on disk, of which only the genes and spots that are asked for are read."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hypergene.errors import DataError, HypergeneError, UsageError, first_line
from hypergene.output.best_genes import best_held_out
from hypergene.output.store import CHUNK_COLUMNS, CHUNK_ROWS, ZARR_FORMAT

if TYPE_CHECKING:  # it takes a second to import
    import pandas as pd
    from anndata import AnnData

_ROWS_AT_ONCE = 8 * CHUNK_ROWS
_SOME_NAMED = 5


@dataclass(frozen=True, eq=False)
class PredictionFile:
    """What ``hypergene predict`` wrote, without its matrices; :func:`open_prediction` makes one.

    Attributes
    ----------
    path
        The Zarr store or h5ad file.
    obs
        A row a spot.
    var
        A row a gene, by symbol.
    obsm
        float arrays by name, n spots × any: ``spatial`` (x, y in level-0 px), ``X_hypergene``.
    uns
        ``spatial`` (squidpy's) and ``hypergene`` (how the prediction was made).
    layers
        Names of the matrices beside ``X``.
    """

    path: Path
    obs: pd.DataFrame
    var: pd.DataFrame
    obsm: dict[str, NDArray[Any]]
    uns: dict[str, Any]
    layers: tuple[str, ...]

    @property
    def genes(self) -> tuple[str, ...]:
        """The predicted genes, in the file's order."""
        return tuple(self.var.index)

    def read(
        self,
        genes: Sequence[str] | None = None,
        rows: slice | None = None,
        layers: Sequence[str] = ("std",),
    ) -> AnnData:
        """Read the expression of some genes in some spots.

        Parameters
        ----------
        genes
            Symbols, in the order wanted; None = all.
        rows
            Spots, as a slice of steps of 1; None = all. Memory grows with what is asked for alone.
        layers
            Matrices wanted beside ``X``.

        Returns
        -------
        AnnData
            Spots × genes, float32, dense, with ``obs``, ``var``, ``obsm`` and ``uns`` as they are.

        Raises
        ------
        UsageError
            If a gene is not in the file, or named twice.
        DataError
            If a matrix is missing or damaged.
        """
        from anndata import AnnData

        columns = self._columns(genes)
        first, last, _ = (rows or slice(None)).indices(len(self.obs))
        spots = slice(first, max(first, last))
        with _opened(self.path) as group:
            expression, *others = (
                self._matrix(group, key, spots, columns)
                for key in ("X", *(f"layers/{name}" for name in layers))
            )
        return AnnData(
            expression,
            obs=self.obs.iloc[spots].copy(),
            var=self.var.iloc[columns].copy(),
            obsm={key: values[spots] for key, values in self.obsm.items()},
            layers=dict(zip(layers, others, strict=True)),
            uns=self.uns,
        )

    def _columns(self, genes: Sequence[str] | None) -> NDArray[np.int64]:
        if genes is None:
            return np.arange(len(self.var))
        places = self.var.index.get_indexer(list(genes))
        unknown = [gene for gene, place in zip(genes, places, strict=True) if place < 0]
        if unknown:
            listed = ", ".join(unknown[:_SOME_NAMED]) + (" …" if len(unknown) > _SOME_NAMED else "")
            raise UsageError(
                f"{self.path} has no prediction of {listed}.",
                hint=self._known(unknown[0]),
            )
        if len(set(places)) < len(places):
            raise UsageError("A gene is asked for twice.", hint="Name every gene once.")
        return np.asarray(places, dtype=np.int64)

    def _known(self, gene: str) -> str:
        """Name what a gene may be a slip of, or else some that there are."""
        close = difflib.get_close_matches(gene.upper(), self.genes, n=3)
        if close:
            return f"Close to {gene}: {', '.join(close)}."
        some = best_held_out(self.var, _SOME_NAMED) if "heldout_pcc" in self.var else self.genes
        return f"It has {len(self.var):,} genes, for example {', '.join(some[:_SOME_NAMED])}."

    def _matrix(
        self, group: Any, key: str, spots: slice, columns: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Read spots × genes, touching the chunks of the wanted genes only."""
        shape = (len(self.obs), len(self.var))
        with _reading(self.path):
            stored = group.get(key)
        if getattr(stored, "shape", None) != shape or stored.dtype.kind != "f":
            raise DataError(
                f"{self.path} has no matrix {key} of {shape[0]:,} spots × {shape[1]:,} genes.",
                hint="Predict the slide again.",
            )
        wanted = np.empty((spots.stop - spots.start, len(columns)), np.float32)
        chunk = columns // CHUNK_COLUMNS
        for start in range(spots.start, spots.stop, _ROWS_AT_ONCE):
            block = slice(start, min(start + _ROWS_AT_ONCE, spots.stop))
            into = slice(block.start - spots.start, block.stop - spots.start)
            for number in np.unique(chunk):
                here = np.flatnonzero(chunk == number)
                left = int(number) * CHUNK_COLUMNS
                with _reading(self.path):
                    values = stored[block, left : left + CHUNK_COLUMNS]
                wanted[into, here] = values[:, columns[here] - left]
        return wanted


def open_prediction(path: str | Path) -> PredictionFile:
    """Open what ``hypergene predict`` wrote.

    Parameters
    ----------
    path
        A ``.zarr`` store or an ``.h5ad`` file.

    Returns
    -------
    PredictionFile
        Everything but expression, which is read when it is asked for.

    Raises
    ------
    DataError
        If nothing stands there, or it is damaged, or no prediction of hypergene.
    """
    from anndata.io import read_elem

    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no file {path}.", hint="Check the path.")
    with _opened(path) as group, _reading(path):
        # Each part must be there: a store of something else fails here, not later.
        made_by = read_elem(group["uns/hypergene"]) if "uns/hypergene" in group else None
        if not isinstance(made_by, dict):
            raise DataError(
                f"{path} was not written by hypergene.",
                hint="Give what hypergene predict wrote, <slide>.zarr.",
            )
        if "model" not in made_by:
            raise DataError(
                f"{path} holds spots without expression.",
                hint="Give what hypergene predict wrote; hypergene predict SLIDE --coords "
                f"{path.name} predicts at these spots.",
            )
        obsm = {key: np.asarray(read_elem(group["obsm"][key])) for key in group["obsm"]}
        obs, var = read_elem(group["obs"]), read_elem(group["var"])
        obs.index, var.index = obs.index.astype(str), var.index.astype(str)
        found = PredictionFile(
            path=path,
            obs=obs,
            var=var,
            obsm=obsm,
            uns={"spatial": read_elem(group["uns/spatial"]), "hypergene": made_by},
            layers=tuple(sorted(group["layers"])) if "layers" in group else (),
        )
    if "spatial" not in obsm or any(len(values) != len(obs) for values in obsm.values()):
        raise DataError(
            f"{path} does not say where each of its {len(obs):,} spots lies.",
            hint="Predict the slide again.",
        )
    return found


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open the group that holds ``obs``, ``var``, ``X`` ..."""
    import h5py
    import zarr

    if path.is_dir():
        with _reading(path):
            group = zarr.open_group(path, mode="r", zarr_format=ZARR_FORMAT)
        yield group
    else:
        with _reading(path):
            file = h5py.File(path, "r")
        with file:
            yield file


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what h5py, zarr, the codecs and anndata raise of damage into one sentence."""
    try:
        yield
    except HypergeneError:
        raise
    except Exception as error:
        raise DataError(
            f"{path} is not a whole prediction in Zarr {ZARR_FORMAT} or h5ad "
            f"({type(error).__name__}: {first_line(error)}).",
            hint="Predict the slide again.",
        ) from error
