"""Where predictions come from: a model of ours, or another tool. Both are scored alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hypergene.errors import DataError
from hypergene.evaluation import MeasuredSlide, Prediction
from hypergene.evaluation.optimism import HeldOut
from hypergene.evaluation.retrieval import Distance
from hypergene.evaluation.scales import Units, around
from hypergene.features.cache import ArrayCache
from hypergene.pipeline.evaluation.baselines import SlideInputs, handmade_of
from hypergene.pipeline.evaluation.data import EvaluationData, pitch_px, um_per_px
from hypergene.pipeline.evaluation.others import Others
from hypergene.pipeline.evaluation.own import Embedded, OwnModel, Seen
from hypergene.pipeline.gene_choice import find_genes
from hypergene.st import Sample
from hypergene.training.expression import Measured
from hypergene.training.section import Section


class Scored(NamedTuple):
    """One sample with its predictions.

    Attributes
    ----------
    slide
        What was measured, of the spots that are predicted.
    spots
        Names of these spots.
    pitch_um
        Distance of neighbouring spots, µm.
    predictions
        By method.
    inputs
        What controls read; None = no controls.
    embedded
        What a model of ours makes of the spots.
    units
        What is scored at each scale beside genes.
    notes, warnings
        Sentences for the report.
    """

    slide: MeasuredSlide
    spots: NDArray[np.str_]
    pitch_um: float
    predictions: Mapping[str, Prediction]
    inputs: SlideInputs | None
    embedded: Embedded | None = None
    units: tuple[Units, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Source(Protocol):
    """What an evaluation asks of either."""

    @property
    def name(self) -> str:
        """What the method is called."""

    @property
    def about(self) -> Mapping[str, Any]:
        """What it is, in plain values."""

    @property
    def genes(self) -> pd.DataFrame:
        """Canonical ``var`` of what is predicted."""

    @property
    def trained_on(self) -> Sequence[str]:
        """Names of samples it says it was trained on."""

    @property
    def needs_slide(self) -> bool:
        """Whether samples without an image cannot be scored."""

    @property
    def distance(self) -> Distance | None:
        """Distance between embeddings; None = there are none."""

    def columns(self, measured: Measured) -> NDArray[np.int64]:
        """Say where a sample has the predicted genes; -1 = not measured."""

    def inputs(self, measured: Measured) -> SlideInputs:
        """Return what controls read of a training sample."""

    def scored(self, measured: Measured, held_out: HeldOut, *, with_inputs: bool) -> Scored:
        """Return a sample with its predictions."""


class Part(NamedTuple):
    """Samples that one source is asked for.

    Attributes
    ----------
    source
        Where their predictions come from.
    data
        The samples, and those it was trained on.
    fold
        What the part is called among several; empty = it is the only one.
    """

    source: Source
    data: EvaluationData
    fold: str = ""


@dataclass(frozen=True, eq=False)
class OwnSource:
    """A model of ours."""

    own: OwnModel
    sha256: str
    seed: int
    needs_slide = True

    @property
    def name(self) -> str:
        """The model's name."""
        return self.own.name

    @property
    def about(self) -> Mapping[str, Any]:
        """Name, revision and checksum of the model."""
        said = self.own.model.config.provenance.model_dump(mode="json")
        return {"kind": "model", "sha256": self.sha256, **said}

    @property
    def genes(self) -> pd.DataFrame:
        """The model's genes."""
        return self.own.genes

    @property
    def trained_on(self) -> Sequence[str]:
        """Samples that the model names."""
        return tuple(self.own.model.config.provenance.trained_on)

    @property
    def distance(self) -> Distance:
        """Distance in the model's shared space."""
        return self.own.distance

    def columns(self, measured: Measured) -> NDArray[np.int64]:
        """Say where a sample has the model's genes."""
        return find_genes(self.genes, measured.var, measured.sample.sample)

    def inputs(self, measured: Measured) -> SlideInputs:
        """Return features of the model's own encoder, and hand-made ones."""
        section = self.own.section(measured)
        return self._inputs(measured, section, self.own.see(section))

    def _inputs(self, measured: Measured, section: Section, seen: Seen) -> SlideInputs:
        return SlideInputs(
            section.log_depth,
            section.neighbours,
            seen.features,
            seen.with_rings,
            handmade_of(measured, self.own.cache, mpp=self.own.mpp, workers=self.own.workers),
        )

    def scored(self, measured: Measured, held_out: HeldOut, *, with_inputs: bool) -> Scored:
        """Predict a sample."""
        section = self.own.section(measured)
        seen = self.own.see(section)
        slide = self.own.measured(section, held_out, self.genes)
        um = float(np.median(_step_um(section, measured)))
        return Scored(
            slide=slide,
            spots=measured.obs.index.to_numpy(str),
            pitch_um=pitch_px(measured) * um,
            predictions=self.own.predict(seen, seed=self.seed),
            inputs=self._inputs(measured, section, seen) if with_inputs else None,
            embedded=self.own.embed(seen),
            units=(self.own.module_units(section.expression.measured),),
        )


def _step_um(section: Section, measured: Measured) -> NDArray[np.float64]:
    """Return µm per px, from the same spots in both."""
    px = np.linalg.norm(measured.xy_px, axis=1)
    return np.asarray(np.linalg.norm(section.xy_um, axis=1) / np.where(px > 0, px, np.nan))


@dataclass(frozen=True, eq=False)
class OtherSource:
    """Another tool's output."""

    others: Others
    samples: Sequence[Sample]
    cache: ArrayCache
    mpp: float | None
    workers: int
    needs_slide = False
    distance = None
    trained_on: Sequence[str] = ()

    @property
    def name(self) -> str:
        """What the file is called."""
        return self.others.name

    @property
    def about(self) -> Mapping[str, Any]:
        """The file, and what its values are taken for."""
        return {
            "kind": "predictions",
            "path": str(self.others.path),
            "units": "log1p CP10k" if self.scaled else "other",
            "genes": len(self.genes),
        }

    @cached_property
    def genes(self) -> pd.DataFrame:
        """The genes that are predicted."""
        return self.others.genes(self.samples)

    @cached_property
    def scaled(self) -> bool:
        """Whether the values are in the truth's units."""
        return self.others.scaled(self.samples)

    def columns(self, measured: Measured) -> NDArray[np.int64]:
        """Say where a sample has the predicted genes.

        Raises
        ------
        DataError
            It measured none of them; rows and columns of the prediction may be exchanged.
        """
        source, sample = self.others.path, measured.sample.sample
        try:
            return find_genes(self.genes, measured.var, sample)
        except DataError:
            if self.genes.index.isin(measured.obs.index).any():
                raise DataError(
                    f"{source} has genes in its rows and spots in its columns.",
                    hint="Transpose it: a row a spot, a column a gene.",
                ) from None
            raise DataError(
                f"{sample} measured none of the {len(self.genes):,} genes of {source} (such as "
                f"{self.genes.index[0]}).",
                hint="Name genes by the same kind of symbol, or by Ensembl identifier.",
            ) from None

    def inputs(self, measured: Measured) -> SlideInputs:
        """Return hand-made features, if the sample has an image."""
        um = um_per_px(measured, self.mpp)
        depth = np.log(measured.obs["total_counts"].to_numpy(np.float64))
        kernel = around(measured.xy_px * um, 1.25 * pitch_px(measured) * um)
        made = handmade_of(measured, self.cache, mpp=self.mpp, workers=self.workers)
        return SlideInputs(depth, kernel, handmade=made)

    def scored(self, measured: Measured, held_out: HeldOut, *, with_inputs: bool) -> Scored:
        """Match the tool's prediction of a sample with what was measured."""
        pitch, um = pitch_px(measured), um_per_px(measured, self.mpp)
        foreign = self.others.of(measured, self.samples, pitch)
        columns = self.columns(measured)
        known = columns >= 0
        expression = measured.expression(columns)
        rows = foreign.spots
        slide = MeasuredSlide(
            name=measured.sample.sample,
            patient=measured.sample.patient,
            xy_um=measured.xy_px[rows] * um,
            genes=tuple(self.genes.index[known]),
            log=expression.dense()[rows][:, known],
            counts=expression.counts()[rows],
            columns=columns[known],
            held_out=held_out,
        )
        std = None if foreign.std is None else foreign.std[:, known]
        notes = list(foreign.notes)
        if (lost := int((~known).sum())) > 0:
            notes.append(
                f"{slide.name}: {lost:,} of the {len(known):,} predicted genes were not measured."
            )
        if not self.scaled:
            notes.append(
                "The units of the prediction are not those of the truth, or nobody says so: only "
                "correlations are reported (--units log1p-cp10k or counts says more)."
            )
        inputs = None
        if with_inputs:
            whole = self.inputs(measured)
            inputs = whole._replace(
                log_depth=whole.log_depth[rows],
                kernel=around(slide.xy_um, 1.25 * pitch * um),
                handmade=None if whole.handmade is None else whole.handmade[rows],
            )
        return Scored(
            slide=slide,
            spots=measured.obs.index.to_numpy(str)[rows],
            pitch_um=pitch * um,
            predictions={
                self.name: Prediction(foreign.mean[:, known], std, scaled=self.scaled),
            },
            inputs=inputs,
            notes=tuple(notes),
            warnings=foreign.warnings,
        )
