"""The score of one fold: predictions beside what was measured, with intervals and differences.

``hypergene evaluate`` scores given predictions with :func:`score_fold`, and a cross-validation
scores each of its folds with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from hypergene.evaluation.bootstrap import (
    REPLICATES,
    Averaged,
    average,
    bounds,
    interval,
    sign_flip,
)
from hypergene.evaluation.calibration import CURVE
from hypergene.evaluation.metrics import COUNTS, METRICS
from hypergene.evaluation.optimism import HeldOut, Picked, optimism
from hypergene.evaluation.seeds import Repeated, seed_table
from hypergene.evaluation.slide_scores import (
    TABLED,
    MeasuredSlide,
    Prediction,
    SlideScores,
    ceilings,
    score_prediction,
)

_BEST = 50


@dataclass(frozen=True, eq=False)
class FoldScores:
    """Tables of a fold, each with a column ``optimistic`` that says what flatters its figures.

    Attributes
    ----------
    genes
        A row a method and gene: means over slides of each patient, then over patients.
    gene_slides
        A row a slide and gene, of the main method.
    slides
        A row a method, slide and gene set, with spot-block intervals.
    patients
        A row a method, patient and gene set.
    summary
        A row a method, ``held_out``, gene set and metric: value, low, high, level, units.
    differences
        A row a control, gene set and metric: the main method less the control, paired.
    curves
        Coverage against nominal level, by method and gene set.
    seeds
        Spread over seeds by method, gene set and metric, see
        :func:`hypergene.evaluation.seeds.seed_table`; empty with one seed.
    """

    genes: pd.DataFrame
    gene_slides: pd.DataFrame
    slides: pd.DataFrame
    patients: pd.DataFrame
    summary: pd.DataFrame
    differences: pd.DataFrame
    curves: pd.DataFrame
    seeds: pd.DataFrame

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return all tables by name."""
        return dict(vars(self))


def score_fold(
    fold: Iterable[tuple[MeasuredSlide, Mapping[str, Prediction]]],
    gene_sets: Mapping[str, Sequence[str]],
    *,
    main: str,
    picked: Picked = "training",
    replicates: int = REPLICATES,
    seed: int = 0,
) -> FoldScores:
    """Score the predictions of several slides, and average them over patients.

    One slide is in memory at a time. Samples that were held out in different ways are never
    averaged together.

    Parameters
    ----------
    fold
        Slides with the predictions of each method. A slide that comes several times comes from
        several seeds, whose figures are averaged.
    gene_sets
        Name -> genes; see :func:`hypergene.evaluation.gene_sets`. A slide may have its own.
    main
        The method that the others are controls of.
    picked
        Where the gene sets come from.
    replicates, seed
        Of the bootstraps.

    Raises
    ------
    ValueError
        Without slides, or if a slide has no prediction of the main method.
    """
    found: dict[str, dict[str, Repeated]] = {}
    for slide, predictions in fold:
        if main not in predictions:
            raise ValueError(f"{slide.name} has no prediction of {main}")
        ceiling = ceilings(slide, seed=seed)
        sets = gene_sets if slide.gene_sets is None else slide.gene_sets
        for method, prediction in predictions.items():
            one = score_prediction(
                slide, prediction, sets, ceiling, replicates=replicates, seed=seed
            )
            slides = found.setdefault(method, {})
            if slide.name in slides:
                slides[slide.name].add(one)
            else:
                slides[slide.name] = Repeated(one)
    if not found:
        raise ValueError("there are no slides")
    tables = _Tables(picked, seed)
    for method, slides in found.items():
        kinds: dict[HeldOut, list[Repeated]] = {}
        for repeated in slides.values():
            kinds.setdefault(repeated.mean.held_out, []).append(repeated)
        for held_out, group in kinds.items():
            tables.add(method, held_out, group, found[main], is_main=method == main)
    return tables.done()


@dataclass
class _Tables:
    """The tables of a fold as they grow, group by group of one method and one ``held_out``."""

    picked: Picked
    seed: int
    rows: dict[str, list[pd.DataFrame]] = field(default_factory=dict)

    def add(
        self,
        method: str,
        held_out: HeldOut,
        repeated: Sequence[Repeated],
        main: Mapping[str, Repeated],
        *,
        is_main: bool,
    ) -> None:
        group = [one.mean for one in repeated]
        known = {
            "method": method,
            "held_out": held_out,
            "optimistic": _optimistic(group, self.picked),
        }
        for one in group:
            says = {"optimistic": _optimistic([one], self.picked)}
            self._keep("slides", _slide_table(one), **(known | says))
            if is_main:
                table = one.by_gene.rename_axis("gene").reset_index()
                self._keep("gene_slides", table, sample=one.slide, **known)
        genes = self._genes(group)
        self._keep("genes", genes, **known)
        by_slide = {one.slide: one for one in group}
        compared = {name: one.mean for name, one in main.items() if name in by_slide}
        spread = seed_table(repeated, main)
        if is_main:
            spread = spread.drop(columns=["difference", "difference_sd"], errors="ignore")
        self._keep("seeds", spread, **known)
        for name in group[0].by_set.index:
            self._keep("patients", self._patients(group, name), gene_set=name, **known)
            self._keep("summary", self._summary(group, name), gene_set=name, **known)
            if not is_main:
                table = self._differences(compared, by_slide, name)
                # Whatever flatters either side flatters their difference, one way or the other.
                says = {"optimistic": _optimistic([*compared.values(), *group], self.picked)}
                self._keep("differences", table, gene_set=name, **(known | says))
            curves = [one.curves[name] for one in group if name in one.curves]
            if curves:
                table = pd.DataFrame({"level": CURVE, "covered": np.mean(curves, axis=0)})
                self._keep("curves", table, gene_set=name, **known)
        best = genes.nlargest(_BEST, "pearson")["pearson"]
        row = {"metric": "pearson", "value": best.mean(), "level": "none", "units": len(group)}
        self._keep(
            "summary",
            pd.DataFrame([row]),
            gene_set=f"best {len(best)} genes of the test",
            **(known | {"optimistic": _optimistic(group, "test")}),
        )

    def done(self) -> FoldScores:
        empty = pd.DataFrame()
        joined = {
            name: pd.concat(parts, ignore_index=True) if (parts := self.rows.get(name)) else empty
            for name in FoldScores.__dataclass_fields__
        }
        return FoldScores(**joined)

    def _keep(self, name: str, table: pd.DataFrame, **known: str) -> None:
        rest = [column for column in table.columns if column not in known]
        # What a row is comes first, what flatters it right after.
        lead = [column for column in ("method", "gene_set", "held_out") if column in known]
        tail = [column for column in known if column not in lead]
        if table.empty:
            return
        filled = table.assign(**known)
        self.rows.setdefault(name, []).append(filled[[*lead, *rest, *tail]])

    def _genes(self, group: Sequence[SlideScores]) -> pd.DataFrame:
        """Average each gene over slides and patients."""
        columns = [name for name in TABLED if name in group[0].by_gene]
        genes = list(dict.fromkeys(gene for one in group for gene in one.by_gene.index))
        values = {
            one.slide: one.by_gene.reindex(genes)[columns].to_numpy(np.float64) for one in group
        }
        drawn = {
            one.slide: pd.DataFrame(one.gene_replicates, columns=list(one.set_genes))
            .reindex(columns=genes)
            .to_numpy(np.float32)
            for one in group
        }
        mean = self._average(group, values, {name: r[:, :, None] for name, r in drawn.items()})
        at = columns.index("pearson")
        # As in a replicate: a prediction without variance has a correlation of 0.
        pearson = {name: np.nan_to_num(table[:, at], nan=0.0) for name, table in values.items()}
        found = self._average(group, pearson, drawn)
        low, high = bounds(found.value, found.replicates) if mean.units > 1 else (np.nan, np.nan)
        table = pd.DataFrame(mean.value, columns=columns)
        table.insert(0, "gene", genes)
        return table.assign(
            pearson_low=low,
            pearson_high=high,
            interval=mean.level,
            units=mean.units,
            slides=len(group),
        )

    def _average(
        self,
        group: Sequence[SlideScores],
        values: Mapping[str, npt.ArrayLike],
        replicates: Mapping[str, npt.ArrayLike],
    ) -> Averaged:
        return average(
            values,
            replicates,
            {one.slide: one.patient for one in group},
            {one.slide: one.blocks for one in group},
            seed=self.seed,
        )

    def _set(self, group: Sequence[SlideScores], name: str) -> Averaged:
        """Average one gene set's metrics, with their replicates."""
        values = {one.slide: one.by_set.loc[name, list(METRICS)].astype(float) for one in group}
        return self._average(group, values, {one.slide: one.replicates[name] for one in group})

    def _patients(self, group: Sequence[SlideScores], name: str) -> pd.DataFrame:
        table = pd.DataFrame(
            [
                {"patient": one.patient or "", **one.by_set.loc[name, list(TABLED)].to_dict()}
                for one in group
            ]
        )
        means = table.groupby("patient", sort=False).mean(numeric_only=True)
        means.insert(0, "slides", table.groupby("patient", sort=False).size())
        return means.reset_index()

    def _summary(self, group: Sequence[SlideScores], name: str) -> pd.DataFrame:
        mean = self._set(group, name)
        rows = []
        for column, metric in enumerate(METRICS):
            found = interval(
                float(mean.value[column]), mean.replicates[:, column], mean.level, mean.units
            )
            rows.append({"metric": metric, **found._asdict()})
        others = self._patients(group, name)
        rows += [
            {"metric": metric, "value": others[metric].mean(), "level": "none", "units": mean.units}
            for metric in TABLED
            if metric not in METRICS
        ]
        return pd.DataFrame(rows)

    def _differences(
        self, main: Mapping[str, SlideScores], other: Mapping[str, SlideScores], name: str
    ) -> pd.DataFrame:
        """Subtract a control from the main method, slide by slide and replicate by replicate."""
        values, drawn = {}, {}
        for slide, one in main.items():
            metrics = list(METRICS)
            control = other[slide]
            values[slide] = one.by_set.loc[name, metrics].astype(float).to_numpy() - (
                control.by_set.loc[name, metrics].astype(float).to_numpy()
            )
            drawn[slide] = one.replicates[name] - control.replicates[name]
        mean = self._average(list(main.values()), values, drawn)
        rows = []
        for column, metric in enumerate(METRICS):
            by_patient = [float(each[column]) for each in mean.by_patient.values()]
            found = interval(
                float(mean.value[column]), mean.replicates[:, column], mean.level, mean.units
            )
            finite = [each for each in by_patient if np.isfinite(each)]
            rows.append(
                {
                    "metric": metric,
                    "difference": found.value,
                    **{key: found._asdict()[key] for key in ("low", "high", "level", "units")},
                    "sign_flip_p": sign_flip(finite) if len(finite) > 1 else np.nan,
                }
            )
        return pd.DataFrame(rows)


def _optimistic(scores: Sequence[SlideScores], picked: Picked) -> str:
    """Say everything that flatters these figures, each thing once."""
    said = "; ".join(optimism(one.own_held_out, picked, one.note) for one in scores)
    return "; ".join(dict.fromkeys(part for part in said.split("; ") if part))


def _slide_table(one: SlideScores) -> pd.DataFrame:
    """Return one row a gene set: figures, and spot-block intervals of the metrics."""
    rows = []
    for name, figures in one.by_set.iterrows():
        row = {"gene_set": name, "sample": one.slide, "patient": one.patient or ""}
        row |= {"spots": one.spots, "blocks": one.blocks, **figures.to_dict()}
        row |= {count: int(figures[count]) for count in COUNTS}
        for column, metric in enumerate(METRICS):
            found = interval(
                float(figures[metric]),
                one.replicates[str(name)][:, column],
                "spot-block",
                one.blocks,
            )
            row |= {f"{metric}_low": found.low, f"{metric}_high": found.high}
        rows.append(row)
    return pd.DataFrame(rows)
