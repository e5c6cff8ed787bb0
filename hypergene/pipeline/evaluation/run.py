"""One evaluation from its samples to its report, one sample in memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from hypergene import __version__
from hypergene.errors import DataError, UsageError
from hypergene.evaluation import MeasuredSlide, Prediction, score_fold
from hypergene.evaluation.bootstrap import FEW_PATIENTS
from hypergene.evaluation.scales import ScaleScores, Units, scale_table, score_scales
from hypergene.features.cache import ArrayCache
from hypergene.features.device import pick_device
from hypergene.pipeline.evaluation.baselines import Baselines, depth_only
from hypergene.pipeline.evaluation.data import EvaluationData, read_data, sets_to_score
from hypergene.pipeline.evaluation.held_out import Standing, standings
from hypergene.pipeline.evaluation.mechanism import Labels, Mechanism
from hypergene.pipeline.evaluation.options import EvaluateOptions
from hypergene.pipeline.evaluation.others import Others
from hypergene.pipeline.evaluation.own import OwnModel
from hypergene.pipeline.evaluation.source import OtherSource, OwnSource, Scored, Source
from hypergene.pipeline.evaluation.writing import (
    REPORT,
    SUMMARY,
    as_json,
    write_tables,
    write_text,
)
from hypergene.pipeline.outcome import Stopwatch
from hypergene.report.evaluation_figures import GeneMap
from hypergene.report.evaluation_page import evaluation_page
from hypergene.st import Sample
from hypergene.zoo import find_model, load_model, weights_sha256

log = logging.getLogger(__name__)

_MAPS = 4
# Genes with a ceiling from here on, so far above it, in such a share: no model does that.
_CLEAR_CEILING, _ABOVE, _ABOVE_SHARE = 0.3, 0.1, 0.05


@dataclass
class EvaluationRun:
    """One evaluation; what is worth a word is gathered on the way.

    Attributes
    ----------
    options
        What was asked for.
    out
        Folder of report and tables.
    cache
        Where tables and features are kept.
    gene_sets
        Sets of the user, name -> genes.
    labels
        Of slides or spots.
    watch
        Wall time by stage.
    notes, warnings
        Sentences for the report.
    scales, maps
        What was gathered of the slides.
    """

    options: EvaluateOptions
    out: Path
    cache: ArrayCache
    gene_sets: Mapping[str, Sequence[str]]
    labels: Labels
    watch: Stopwatch
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    scales: list[ScaleScores] = field(default_factory=list)
    maps: list[GeneMap] = field(default_factory=list)

    def score(self, scored: Sequence[Sample], train: Sequence[Sample]) -> Path:
        """Score samples beside controls fitted on the training samples; return the report."""
        source = self._source(scored)
        with self.watch("read"):
            scored = self._with_slide(scored) if source.needs_slide else scored
            data = read_data(scored, train, self.cache)
        for sample in scored:
            source.columns(data.measured[sample.sample])  # what cannot match is said at once
        standing = standings(scored, train, data.sketches, trained_on=source.trained_on)
        # Controls know nothing but the training samples that are given.
        controls = standings(scored, train, data.sketches)
        for one in standing.values():
            (self.warnings if one.held_out == "trained on" else self.notes).append(one.reason)
        sets, picked, notes = sets_to_score(data, source.genes)
        self.notes += [f"Genes: {note}" for note in notes]
        self._say_sets(sets, picked == "test")
        drawn = self._genes_to_draw(source.genes, sets)
        with self.watch("controls"):
            baselines, trained_genes = self._baselines(source, data, sets)
        mechanism = None if source.distance is None else Mechanism(source.distance)

        def fold() -> Iterator[tuple[MeasuredSlide, Mapping[str, Prediction]]]:
            for sample in tqdm(data.scored, desc="evaluate", unit="sample", disable=None):
                one = self._scored(source, data, sample, standing[sample.sample])
                slide, prediction = one.slide, one.predictions[source.name]
                methods = dict(one.predictions)
                if baselines is not None and one.inputs is not None:
                    columns, genes = _common(slide.genes, trained_genes)
                    methods |= baselines.predict(
                        one.inputs,
                        columns,
                        genes,
                        controls[sample.sample].held_out,
                        standing[sample.sample].held_out,
                    )
                elif baselines is None:
                    methods |= depth_only(slide)
                self._scale(slide, prediction, one, sets)
                self._draw(slide, prediction, drawn)
                if mechanism is not None and one.embedded is not None:
                    mechanism.add(slide, one.spots, one.embedded, prediction)
                yield slide, methods

        with self.watch("score"):
            scores = score_fold(
                fold(),
                sets,
                main=source.name,
                picked=picked,
                replicates=self.options.replicates,
                seed=self.options.seed,
            )
        tables = scores.tables() | {"scales": scale_table(self.scales, seed=self.options.seed)}
        if mechanism is not None:
            with self.watch("mechanism"):
                tables |= mechanism.tables(self.labels, seed=self.options.seed)
        self._say_patients(data.scored)
        self._say_above_ceiling(tables["gene_slides"])
        return self._write(source, data, standing, sets, picked, tables)

    def _source(self, scored: Sequence[Sample]) -> Source:
        options = self.options
        if options.predictions is not None:
            others = Others(Path(options.predictions), options.units, options.layer)
            return OtherSource(others, scored, self.cache, options.mpp, options.workers)
        assert options.model is not None
        device = pick_device(options.device)
        folder = find_model(options.model)
        model = load_model(folder, device=str(device))
        own = OwnModel(model, device, self.cache, options.mpp, options.workers)
        return OwnSource(own, weights_sha256(folder), options.seed)

    def _with_slide(self, scored: Sequence[Sample]) -> Sequence[Sample]:
        with_slide = [sample for sample in scored if sample.slide is not None]
        if not with_slide:
            raise DataError(
                "None of the samples to score has a slide.",
                hint="Name images in the samples sheet's column 'slide'.",
            )
        if len(with_slide) < len(scored):
            names = ", ".join(s.sample for s in scored if s.slide is None)
            self.notes.append(f"Not scored, since they have no image: {names}.")
        return with_slide

    def _say_sets(self, sets: Mapping[str, Sequence[str]], test_picked: bool) -> None:
        sizes = ", ".join(f"{name}: {len(genes):,} genes" for name, genes in sets.items())
        where = "the scored samples themselves" if test_picked else "the training samples"
        self.notes.append(f"Gene sets chosen on {where}: {sizes}.")
        if test_picked:
            self.warnings.append(
                "Gene sets were picked on the scored samples, which is optimistic; --train names "
                "the samples to choose them, and to fit the controls, on."
            )

    def _say_patients(self, scored: Sequence[Sample]) -> None:
        patients = {sample.patient for sample in scored}
        if None in patients:
            self.warnings.append(
                "The patient of some samples is not known, so every figure of theirs is "
                "slide-level, optimistic."
            )
        if len(patients) == 1:
            self.notes.append(
                "One patient: intervals are over blocks of spots (1 mm), and say nothing of the "
                "next patient."
            )
        elif len(patients) < FEW_PATIENTS:
            self.warnings.append(
                f"Intervals over {len(patients)} patients are narrower than 95 %: read the spread "
                "of the patients instead."
            )

    def _say_above_ceiling(self, genes: pd.DataFrame) -> None:
        """Warn where a prediction knows more of the counts than another measurement would."""
        for sample, table in genes.groupby("sample", sort=False):
            scored = table[table["ceiling"] >= _CLEAR_CEILING]
            above = float((scored["pearson"] > scored["ceiling"] + _ABOVE).mean())
            if above > _ABOVE_SHARE:
                self.warnings.append(
                    f"{sample}: {above:.0%} of its genes are predicted better than their noise "
                    "ceiling allows, so the prediction has very likely seen these counts."
                )

    def _genes_to_draw(
        self, predicted: pd.DataFrame, sets: Mapping[str, Sequence[str]]
    ) -> list[str]:
        known = set(predicted.index)
        if self.options.genes is not None:
            unknown = [gene for gene in self.options.genes if gene not in known]
            if unknown:
                raise UsageError(
                    f"There is no {', '.join(unknown)} among the {len(known):,} genes predicted.",
                    hint=f"Known are, for example, {', '.join(predicted.index[:5])}.",
                )
            return list(self.options.genes)
        smallest = min(sets, key=lambda name: len(sets[name]))
        return [gene for gene in sets[smallest] if gene in known][:_MAPS]

    def _baselines(
        self, source: Source, data: EvaluationData, sets: Mapping[str, Sequence[str]]
    ) -> tuple[Baselines | None, tuple[str, ...]]:
        """Fit the controls on the training samples that have what the scored ones have."""
        wanted = {gene for members in sets.values() for gene in members}
        targets, inputs = [], []
        chosen = np.array([gene in wanted for gene in source.genes.index])
        columns = {}
        for sample in data.train:
            measured = data.measured[sample.sample]
            if sample.slide is None and source.needs_slide:
                continue
            columns[sample.sample] = source.columns(measured)
            chosen &= columns[sample.sample] >= 0
        if not columns or not chosen.any():
            self.notes.append(
                "No control is fitted (ridge, training mean): no training samples are given."
            )
            return None, ()
        for name, at in columns.items():
            measured = data.measured[name]
            expression = measured.expression(at[chosen])
            targets.append(expression.dense())
            inputs.append(source.inputs(measured))
        return Baselines.fit(targets, inputs), tuple(source.genes.index[chosen])

    def _scored(
        self, source: Source, data: EvaluationData, sample: Sample, standing: Standing
    ) -> Scored:
        one = source.scored(
            data.measured[sample.sample], standing.held_out, with_inputs=bool(data.train)
        )
        self.notes += one.notes
        self.warnings += one.warnings
        return one

    def _scale(
        self,
        slide: MeasuredSlide,
        prediction: Prediction,
        one: Scored,
        sets: Mapping[str, Sequence[str]],
    ) -> None:
        genes = list(dict.fromkeys(gene for members in sets.values() for gene in members))
        units = [Units.of_genes(slide.genes, genes), *one.units]
        if self.gene_sets:
            units.append(Units.of_sets(slide.genes, self.gene_sets))
            if not units[-1].names:
                raise DataError(
                    f"{self.options.gene_sets} has no set with a gene that is predicted and was "
                    f"measured in {slide.name}.",
                    hint="Name genes as the prediction does.",
                )
        self.scales += score_scales(
            slide,
            prediction,
            units,
            one.pitch_um,
            replicates=self.options.replicates,
            seed=self.options.seed,
        )

    def _draw(self, slide: MeasuredSlide, prediction: Prediction, genes: Sequence[str]) -> None:
        place = {gene: number for number, gene in enumerate(slide.genes)}
        mean = np.asarray(prediction.mean)
        self.maps += [
            GeneMap(
                sample=slide.name,
                gene=gene,
                xy_um=slide.xy_um,
                observed=slide.log[:, place[gene]].copy(),
                predicted=mean[:, place[gene]].copy(),
                same_units=prediction.scaled,
            )
            for gene in genes
            if gene in place
        ]

    def _write(
        self,
        source: Source,
        data: EvaluationData,
        standing: Mapping[str, Standing],
        sets: Mapping[str, Sequence[str]],
        picked: str,
        tables: Mapping[str, pd.DataFrame],
    ) -> Path:
        for warning in self.warnings:
            log.warning("%s", warning)
        about = {
            "hypergene": __version__,
            "scored": source.about,
            "method": source.name,
            "samples": [
                {
                    "sample": sample.sample,
                    "patient": sample.patient,
                    "held_out": standing[sample.sample].held_out,
                    "reason": standing[sample.sample].reason,
                }
                for sample in data.scored
            ],
            "trained_on": sorted({*source.trained_on, *(s.sample for s in data.train)}),
            "gene_sets": {
                "picked_on": picked,
                "genes": {name: len(members) for name, members in sets.items()},
            },
            "warnings": list(dict.fromkeys(self.warnings)),
            "notes": list(dict.fromkeys(self.notes)),
            "arguments": asdict(self.options),
        }
        written = write_tables(self.out, tables)
        with self.watch("report"):
            page = evaluation_page(about, tables, self.maps)
        write_text(self.out / REPORT, page)
        short = {
            name: tables[name]
            for name in ("summary", "differences", "retrieval", "mixing", "probe", "flags")
            if name in tables
        }
        seconds = {stage: round(value, 2) for stage, value in self.watch.seconds.items()}
        machines = about | short | {"tables": written, "seconds": seconds}
        machines["readable"] = _readable(tables["scales"])
        # Last, since it says that the evaluation is whole.
        write_text(self.out / SUMMARY, as_json(machines))
        return self.out / REPORT


def _common(
    genes: Sequence[str], trained: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where genes that both have are: among the slide's, and among the controls'."""
    place = {gene: number for number, gene in enumerate(genes)}
    both = [(place[gene], number) for number, gene in enumerate(trained) if gene in place]
    pairs = np.array(both, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _readable(scales: pd.DataFrame) -> list[dict[str, Any]]:
    """Count units by the finest scale at which they may be read."""
    if scales.empty:
        return []
    once = scales.drop_duplicates(["held_out", "kind", "unit"])
    counts = once.groupby(["held_out", "kind", "readable_at"], sort=False).size()
    rows: list[dict[str, Any]] = counts.rename("units").reset_index().to_dict(orient="records")
    return rows
