"""A prediction as detections with measurements, for QuPath."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from hypergene.output.export.chosen import Chosen
from hypergene.output.geojson import geojson_writer

CLASS = "Predicted spot"
"""QuPath's class of every detection; with archetypes ``Predicted spot: archetype 3``."""

_KNOWN_ALREADY = ("array_row", "array_col")


def write_qupath(chosen: Chosen, path: Path, *, overwrite: bool = False) -> None:
    """Write spots as a GeoJSON FeatureCollection of QuPath's detections, in blocks.

    Each spot has its outline in level-0 px, the class :data:`CLASS` and as measurements every
    number of ``obs`` under its own name, each gene as ``<gene> (predicted)`` and, if wanted, its
    spread as ``<gene> (predicted std)``, all to four digits. What they are and their units stand in
    the collection under ``"hypergene"``.

    Parameters
    ----------
    chosen
        The prediction, its genes, and whether the spread is wanted.
    path
        The file, ``.geojson``.
    overwrite
        Whether an earlier file may be replaced.

    Raises
    ------
    OutputError
        If the file exists and may not be replaced, or cannot be written.
    DataError
        If the prediction is damaged.
    """
    spots = chosen.spots
    with geojson_writer(path, overwrite=overwrite, about=chosen.about) as write:
        for rows, block in chosen.blocks():
            measurements: dict[str, npt.NDArray[np.generic]] = {
                name: values.to_numpy()
                for name, values in block.obs.items()
                if pd.api.types.is_numeric_dtype(values) and name not in _KNOWN_ALREADY
            }
            for column, gene in enumerate(chosen.genes):
                measurements[f"{gene} (predicted)"] = block.X[:, column]
                for layer in chosen.layers:
                    measurements[f"{gene} (predicted {layer})"] = block.layers[layer][:, column]
            write(spots.subset(rows), measurements=measurements, classes=_classes(block.obs))


def _classes(obs: pd.DataFrame) -> list[str]:
    if "archetype" not in obs:
        return [CLASS] * len(obs)
    return [f"{CLASS}: archetype {state}" for state in obs["archetype"].astype(str)]
