"""One evaluation from its samples to its report, one sample in memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from hypergene import __version__
from hypergene.errors import DataError, UsageError
from hypergene.evaluation import MeasuredSlide, Prediction, score_fold
from hypergene.evaluation.bootstrap import FEW_PATIENTS
from hypergene.evaluation.protocols import PROTOCOLS, Protocol
from hypergene.evaluation.scales import ScaleScores, Units, scale_table, score_scales
from hypergene.features.cache import ArrayCache
from hypergene.features.device import pick_device
from hypergene.pipeline.evaluation.baselines import depth_only
from hypergene.pipeline.evaluation.data import read_data
from hypergene.pipeline.evaluation.fitted import fit_controls
from hypergene.pipeline.evaluation.held_out import Standing, standings
from hypergene.pipeline.evaluation.mechanism import Labels, Mechanism
from hypergene.pipeline.evaluation.options import EvaluateOptions
from hypergene.pipeline.evaluation.others import Others
from hypergene.pipeline.evaluation.own import OwnModel
from hypergene.pipeline.evaluation.scored_genes import genes_to_score, picked_on
from hypergene.pipeline.evaluation.source import OtherSource, OwnSource, Part, Source
from hypergene.pipeline.evaluation.writing import (
    REPORT,
    SUMMARY,
    as_json,
    readable_counts,
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
_MECHANISM = ("retrieval", "mixing", "probe", "flags")
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
    scales, maps, mechanisms
        What was gathered of the slides; a mechanism a fold.
    scored, trained, set_sizes
        Samples with their standing; names of what was trained on; genes by fold and gene set.
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
    mechanisms: list[tuple[str, Mechanism]] = field(default_factory=list)
    scored: dict[str, tuple[Sample, Standing]] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)
    set_sizes: dict[str, dict[str, int]] = field(default_factory=dict)

    def score(self, scored: Sequence[Sample], train: Sequence[Sample]) -> Path:
        """Score samples beside controls fitted on the training samples; return the report."""
        source = self._source(scored)
        with self.watch("read"):
            scored = self.with_slide(scored) if source.needs_slide else scored
            data = read_data(scored, train, self.cache)
        return self.report([Part(source, data)], source.name, source.about)

    def report(self, parts: Iterable[Part], method: str, about: Mapping[str, Any]) -> Path:
        """Score parts one after the other, write what they give together, return the report.

        Parameters
        ----------
        parts
            At least one. A sample that several parts score comes from several seeds.
        method
            What is scored: the name of every part's source.
        about
            What it is, in plain values.
        """
        with self.watch("score"):
            scores = score_fold(
                (slide for part in parts for slide in self._slides(part)),
                {},
                main=method,
                picked=picked_on(self.options),
                replicates=self.options.replicates,
                seed=self.options.seed,
            )
        tables = scores.tables() | {"scales": scale_table(self.scales, seed=self.options.seed)}
        with self.watch("mechanism"):
            tables |= self._mechanism_tables()
        self._say_patients([sample for sample, _ in self.scored.values()])
        self._say_above_ceiling(tables["gene_slides"])
        return self._write(method, about, tables)

    def _slides(self, part: Part) -> Iterator[tuple[MeasuredSlide, Mapping[str, Prediction]]]:
        """Score one part's samples, and gather what is worth a word of them."""
        source, data = part.source, part.data
        for sample in data.scored:
            source.columns(data.measured[sample.sample])  # what cannot match is said at once
        standing = standings(data.scored, data.train, data.sketches, trained_on=source.trained_on)
        # Controls know nothing but the training samples that are given.
        controls = standings(data.scored, data.train, data.sketches)
        is_again = any(sample.sample in self.scored for sample in data.scored)
        for sample in data.scored:
            one = standing[sample.sample]
            self.scored[sample.sample] = sample, one
            (self.warnings if one.held_out == "trained on" else self.notes).append(one.reason)
        self.trained |= {*source.trained_on, *(sample.sample for sample in data.train)}
        sets, notes, warnings = genes_to_score(data, source.genes, self.options, part.fold)
        self.notes += notes
        self.warnings += warnings
        self.set_sizes[part.fold] = {name: len(genes) for name, genes in sets.items()}
        drawn = self._genes_to_draw(source.genes, sets)
        protocol = self.protocol
        fitted = fit_controls(source, data, sets, protocol)
        if fitted is None:
            self.notes.append(
                "No control is fitted (ridge, training mean): no training samples are given."
            )
        # Embeddings and scales are this package's own, and no published protocol has them.
        mechanism = None
        if source.distance is not None and protocol is None:
            mechanism = Mechanism(source.distance)

        for sample in tqdm(data.scored, desc=part.fold or "evaluate", unit="sample", disable=None):
            one_scored = source.scored(
                data.measured[sample.sample],
                standing[sample.sample].held_out,
                with_inputs=bool(data.train),
            )
            self.notes += one_scored.notes
            self.warnings += one_scored.warnings
            slide, methods = one_scored.slide, dict(one_scored.predictions)
            if protocol is not None:
                methods = protocol.predictions(methods)
                methods |= protocol.oracles(slide, one_scored.pitch_um)
                slide = protocol.slide(slide, one_scored.pitch_um)
            prediction = methods[source.name]
            if fitted is None:
                methods |= depth_only(slide)
            else:
                held_out = controls[sample.sample].held_out
                methods |= fitted.predict(one_scored, held_out, standing[sample.sample].held_out)
            if not is_again:
                # Modules are numbered anew in every fold.
                units = () if part.fold else one_scored.units
                if protocol is None:
                    self._scale(slide, prediction, one_scored.pitch_um, units, sets)
                self._draw(slide, prediction, drawn)
            if mechanism is not None and one_scored.embedded is not None:
                mechanism.add(slide, one_scored.spots, one_scored.embedded, prediction)
            yield replace(slide, gene_sets=sets), methods
        if mechanism is not None:
            self.mechanisms.append((part.fold, mechanism))

    def _mechanism_tables(self) -> dict[str, pd.DataFrame]:
        """Join the tables of all models; embeddings of two models are never compared."""
        tables: dict[str, list[pd.DataFrame]] = {}
        for fold, mechanism in self.mechanisms:
            for name, table in mechanism.tables(self.labels, seed=self.options.seed).items():
                if table.empty:
                    continue
                if fold:
                    table.insert(0, "fold", fold)
                tables.setdefault(name, []).append(table)
        return {name: pd.concat(found, ignore_index=True) for name, found in tables.items()}

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

    def with_slide(self, scored: Sequence[Sample]) -> Sequence[Sample]:
        """Return the samples that can be predicted; say which cannot.

        Raises
        ------
        DataError
            None of them has a slide.
        """
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

    @property
    def protocol(self) -> Protocol | None:
        """The published protocol that is asked for."""
        return None if self.options.protocol is None else PROTOCOLS[self.options.protocol]

    def _protocol_words(self) -> dict[str, str]:
        """Say what predictions are compared with, and what stands beside every figure of it."""
        if self.protocol is None:
            truth = "log1p of counts per 10,000 over all genes measured, never smoothed"
            return {"name": "hypergene", "truth": truth, "label": ""}
        return {
            "name": self.protocol.name,
            "truth": self.protocol.truth,
            "label": self.protocol.label,
        }

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

    def _scale(
        self,
        slide: MeasuredSlide,
        prediction: Prediction,
        pitch_um: float,
        more: Sequence[Units],
        sets: Mapping[str, Sequence[str]],
    ) -> None:
        genes = list(dict.fromkeys(gene for members in sets.values() for gene in members))
        units = [Units.of_genes(slide.genes, genes), *more]
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
            pitch_um,
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
                label=self.protocol.truth if self.protocol else "log1p CP10k",
            )
            for gene in genes
            if gene in place
        ]

    def _write(
        self, method: str, source: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]
    ) -> Path:
        for warning in dict.fromkeys(self.warnings):
            log.warning("%s", warning)
        sizes = self.set_sizes
        about = {
            "hypergene": __version__,
            "scored": source,
            "method": method,
            "protocol": self._protocol_words(),
            "samples": [
                {
                    "sample": name,
                    "patient": sample.patient,
                    "held_out": standing.held_out,
                    "reason": standing.reason,
                }
                for name, (sample, standing) in self.scored.items()
            ],
            "trained_on": sorted(self.trained),
            "gene_sets": {
                "picked_on": picked_on(self.options),
                # By fold, where there are folds.
                "genes": sizes.get("", sizes),
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
            for name in ("summary", "differences", "seeds", *_MECHANISM)
            if name in tables
        }
        seconds = {stage: round(value, 2) for stage, value in self.watch.seconds.items()}
        machines = about | short | {"tables": written, "seconds": seconds}
        machines["readable"] = readable_counts(tables["scales"])
        # Last, since it says that the evaluation is whole.
        write_text(self.out / SUMMARY, as_json(machines))
        return self.out / REPORT
