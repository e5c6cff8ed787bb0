"""What embeddings know: retrieval, mixing of slides, labels of slides; and the flag's worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hypergene.errors import DataError
from hypergene.evaluation import MeasuredSlide, Prediction
from hypergene.evaluation.bootstrap import spot_blocks
from hypergene.evaluation.calibration import flag_auroc
from hypergene.evaluation.mixing import ilisi, silhouette, slide_identity
from hypergene.evaluation.optimism import optimism
from hypergene.evaluation.probe import probe_slides
from hypergene.evaluation.retrieval import Distance, recall_at_k
from hypergene.pipeline.evaluation.own import Embedded
from hypergene.st.table import read_table

FLAGGED = 0.99
"""Spots with a score from here on are flagged out of distribution."""


@dataclass(frozen=True)
class Labels:
    """Labels that the user gives.

    Attributes
    ----------
    slides
        Sample -> label, such as a mutation.
    spots
        Sample -> spot -> annotation.
    """

    slides: Mapping[str, str] = field(default_factory=dict)
    spots: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_labels(path: Path) -> Labels:
    """Read labels of slides (columns sample, label) or of spots (sample, spot, label).

    Raises
    ------
    DataError
        Not such a table, or a slide or spot with two labels.
    """
    table = read_table(path, ",\t;")
    table.require("sample", "label")
    samples, labels = table.columns["sample"], table.columns["label"]
    if "spot" not in table.columns:
        slides: dict[str, str] = {}
        for sample, label in zip(samples, labels, strict=True):
            if slides.setdefault(sample, label) != label:
                raise DataError(
                    f"{path} gives {sample} two labels.",
                    hint="One line a sample; labels of spots need a column 'spot'.",
                )
        return Labels(slides=slides)
    spots: dict[str, dict[str, str]] = {}
    for sample, spot, label in zip(samples, table.columns["spot"], labels, strict=True):
        if spots.setdefault(sample, {}).setdefault(spot, label) != label:
            raise DataError(f"{path} gives the spot {spot} of {sample} two labels.")
    return Labels(spots=spots)


@dataclass
class Mechanism:
    """Embeddings of the scored slides, gathered one by one.

    Attributes
    ----------
    distance
        Between points of the shared space.
    """

    distance: Distance
    _slides: list[MeasuredSlide] = field(default_factory=list)
    _embedded: list[Embedded] = field(default_factory=list)
    _spots: list[NDArray[np.str_]] = field(default_factory=list)
    _flags: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        slide: MeasuredSlide,
        spots: NDArray[np.str_],
        embedded: Embedded,
        prediction: Prediction,
    ) -> None:
        """Take one slide: its spots' names, what the model makes of them, and its prediction."""
        # Expression is not needed any more.
        light = MeasuredSlide(
            slide.name, slide.patient, slide.xy_um, (), slide.log[:, :0], slide.counts[:, :0],
            slide.columns[:0], slide.held_out,
        )  # fmt: skip
        self._slides.append(light)
        self._embedded.append(embedded)
        self._spots.append(spots)
        variance = slide.log.var(axis=0)
        varies = variance > 0
        error = (slide.log - np.asarray(prediction.mean)) ** 2
        error = (error[:, varies] / variance[varies]).mean(axis=1)
        flagged = embedded.unusual >= FLAGGED
        self._flags.append(
            {
                "sample": slide.name,
                "held_out": slide.held_out,
                "auroc": flag_auroc(error, embedded.unusual),
                "flagged": int(flagged.sum()),
                "spots": len(slide),
                "error_flagged": float(error[flagged].mean()) if flagged.any() else np.nan,
                "error_unflagged": float(error[~flagged].mean()) if (~flagged).any() else np.nan,
            }
        )

    def tables(self, labels: Labels, *, seed: int = 0) -> dict[str, pd.DataFrame]:
        """Return the tables ``retrieval``, ``mixing``, ``probe`` (with labels) and ``flags``."""
        names = np.concatenate([np.repeat(s.name, len(s)) for s in self._slides]).tolist()
        image = np.concatenate([one.image for one in self._embedded])
        gene = np.concatenate([one.gene for one in self._embedded])
        tangent = np.concatenate([one.tangent for one in self._embedded])
        tables = {
            "retrieval": recall_at_k(image, gene, names, distance=self.distance),
            "mixing": pd.DataFrame(self._mixing(tangent, names, labels, seed)),
            "flags": pd.DataFrame(self._flags),
        }
        if labels.slides:
            tables["probe"] = self._probe(labels.slides, seed)
        kinds = sorted({slide.held_out for slide in self._slides})
        said = "; ".join(label for label in map(optimism, kinds) if label)
        return {
            name: table.assign(samples_held_out="; ".join(kinds), optimistic=said)
            for name, table in tables.items()
        }

    def _mixing(
        self, tangent: NDArray[np.float32], names: Sequence[str], labels: Labels, seed: int
    ) -> list[dict[str, Any]]:
        blocks = np.concatenate([spot_blocks(slide.xy_um) for slide in self._slides])
        accuracy, chance = slide_identity(tangent, names, blocks, seed=seed)
        rows = [
            {
                "measure": "silhouette by slide",
                "value": silhouette(tangent, names, seed=seed),
                "chance": 0.0,
                "better": "near 0",
            },
            {
                "measure": "iLISI over slides",
                "value": ilisi(tangent, names, seed=seed),
                "chance": np.nan,
                "better": "near 1",
            },
            {
                "measure": "slide read by a linear probe (balanced accuracy)",
                "value": accuracy,
                "chance": chance,
                "better": "near chance",
            },
        ]
        if labels.spots:
            said = [
                labels.spots.get(slide.name, {}).get(str(spot))
                for slide, spots in zip(self._slides, self._spots, strict=True)
                for spot in spots
            ]
            known = np.array([label is not None for label in said])
            if not known.any():
                raise DataError(
                    "None of the labelled spots is one of the scored samples'.",
                    hint="Name samples and spots as the data do.",
                )
            annotated = [label for label in said if label is not None]
            rows.append(
                {
                    "measure": f"silhouette by annotation ({known.sum():,} spots)",
                    "value": silhouette(tangent[known], annotated, seed=seed),
                    "chance": 0.0,
                    "better": "higher",
                }
            )
        return rows

    def _probe(self, labels: Mapping[str, str], seed: int) -> pd.DataFrame:
        labelled = [
            (slide, one)
            for slide, one in zip(self._slides, self._embedded, strict=True)
            if slide.name in labels
        ]
        unknown = [slide.name for slide, _ in labelled if slide.patient is None]
        if not labelled or unknown:
            raise DataError(
                f"The patient of {', '.join(unknown)} is not known, so labels cannot be "
                "cross-validated by patient."
                if unknown
                else "None of the labels is of a scored sample.",
                hint="Name patients in the samples sheet." if unknown else "Name samples alike.",
            )
        score = probe_slides(
            np.stack([one.tangent.mean(axis=0) for _, one in labelled]),
            [labels[slide.name] for slide, _ in labelled],
            [slide.patient for slide, _ in labelled],
            seed=seed,
        )
        return pd.DataFrame([score._asdict()])
