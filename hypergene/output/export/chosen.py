"""What of a prediction is exported: its spots, and some of its genes with or without spread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hypergene.errors import DataError
from hypergene.output.prediction_file import PredictionFile
from hypergene.spots import Layout, Spots

if TYPE_CHECKING:  # it takes a second to import
    from anndata import AnnData

BLOCK_VALUES = 2**22
"""Values of a block: 16 MB as float32, and about 100 MB as Python's numbers."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """A prediction and what is wanted of it; every exporter takes one.

    Attributes
    ----------
    prediction
        The prediction on disk.
    genes
        Symbols, in the order wanted.
    spread
        Whether the predicted standard deviation, ``layers["std"]``, is wanted too.
    """

    prediction: PredictionFile
    genes: tuple[str, ...]
    spread: bool

    def __len__(self) -> int:
        """Return the number of spots."""
        return len(self.prediction.obs)

    @property
    def layers(self) -> tuple[str, ...]:
        """Matrices wanted beside ``X``."""
        return ("std",) if self.spread else ()

    @property
    def slide(self) -> str:
        """The slide's file name."""
        with self._whole():
            return str(self._made["slide"])

    @property
    def units(self) -> str:
        """Of the expression and of its spread."""
        with self._whole():
            return str(self._made["units"])

    @property
    def statement(self) -> str:
        """One sentence that travels with the numbers: predicted, by what, in which units."""
        with self._whole():
            model = self._made["model"]["name"]
            version = self._made["version"]
            return (
                f"Gene expression predicted from the H&E slide {self.slide} by hypergene {version} "
                f"(model {model}): predicted, not measured. Unit: {self.units}."
            )

    @property
    def about(self) -> dict[str, Any]:
        """:attr:`statement` and its parts, as plain values for JSON."""
        with self._whole():
            return {
                "predicted": True,
                "statement": self.statement,
                "units": self.units,
                "slide": self.slide,
                "model": str(self._made["model"]["name"]),
                "hypergene_version": str(self._made["version"]),
                "um_per_px": list(self.mpp),
            }

    @property
    def mpp(self) -> tuple[float, float]:
        """µm per level-0 px along x and y."""
        with self._whole():
            return float(self._made["mpp"]["x"]), float(self._made["mpp"]["y"])

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the slide's level 0, px."""
        with self._whole():
            kept = self.picture["metadata"]
            return int(kept["fullres_width_px"]), int(kept["fullres_height_px"])

    @property
    def picture(self) -> Mapping[str, Any]:
        """Squidpy's ``uns["spatial"][<slide>]``: the slide small, and its scale factors."""
        with self._whole():
            (library,) = self.prediction.uns["spatial"].values()
            return library

    @property
    def hires(self) -> NDArray[np.uint8]:
        """The slide small: uint8 (height, width, 3)."""
        with self._whole():
            return np.asarray(self.picture["images"]["hires"], dtype=np.uint8)

    @cached_property
    def spots(self) -> Spots:
        """Where the spots lie, what they are called and how large they are."""
        obs = self.prediction.obs
        with self._whole():
            layout = self._made["layout"]
            return Spots(
                xy_px=self.prediction.obsm["spatial"],
                array_row=obs["array_row"].to_numpy(),
                array_col=obs["array_col"].to_numpy(),
                names=obs.index.to_numpy(dtype=np.str_),
                layout=Layout(
                    name=str(layout["name"]),
                    lattice=layout["lattice"],
                    diameter_um=float(layout["diameter_um"]),
                    pitch_um=float(layout["pitch_um"]),
                    shape=layout["shape"],
                    orientation_deg=float(layout["orientation_deg"]),
                ),
                mpp=self.mpp,
            )

    def blocks(self, *, rows: int | None = None) -> Iterator[tuple[slice, AnnData]]:
        """Read the spots in blocks.

        Parameters
        ----------
        rows
            Spots of a block; None = as many as make ``BLOCK_VALUES`` values.

        Yields
        ------
        slice, AnnData
            Which spots, and these with the wanted genes and layers.
        """
        columns = max(1, len(self.genes) * (1 + len(self.layers)))
        step = rows or max(64, BLOCK_VALUES // columns)
        for start in range(0, len(self), step):
            here = slice(start, min(start + step, len(self)))
            yield here, self.prediction.read(self.genes, here, self.layers)

    @property
    def _made(self) -> Mapping[str, Any]:
        return self.prediction.uns["hypergene"]

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Say in one sentence that the file does not say what every prediction says."""
        try:
            yield
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.prediction.path} does not say where its spots lie or how they were "
                f"predicted ({type(error).__name__}: {error}).",
                hint="Predict the slide again.",
            ) from error


def best_predicted(prediction: PredictionFile, genes: Sequence[str], most: int) -> tuple[str, ...]:
    """Return the genes with the highest ``var["heldout_pcc"]``, best first.

    Parameters
    ----------
    prediction
        The prediction; where it has no such column, or two genes are alike, earlier ones go first.
    genes
        Genes to choose from.
    most
        How many at most.
    """
    if "heldout_pcc" not in prediction.var:
        return tuple(genes[:most])
    score = prediction.var.loc[list(genes), "heldout_pcc"].to_numpy(dtype=np.float64)
    order = np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")[:most]
    return tuple(genes[place] for place in order)
