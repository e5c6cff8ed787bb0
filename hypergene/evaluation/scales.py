"""At which scale a gene may be read: single spots, or means over neighbours or over gene sets.

What cannot be read spot by spot may well be readable over some hundred µm, or as one of many genes
of a programme. Truth, prediction and noise ceiling are averaged alike; such figures answer another
question than those of single spots, and are never put beside them without saying so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from hypergene.evaluation.bootstrap import (
    REPLICATES,
    average,
    bounds,
    draw_weights,
    spot_blocks,
)
from hypergene.evaluation.ceiling import noise_ceiling
from hypergene.evaluation.classes import READABLE, reliability_classes
from hypergene.evaluation.metrics import pearson_per_gene
from hypergene.evaluation.moments import BlockMoments
from hypergene.evaluation.optimism import COARSE, HeldOut, optimism
from hypergene.evaluation.slide_scores import (
    CEILING_SPLITS,
    MeasuredSlide,
    Prediction,
)
from hypergene.spots import rings

Floats = npt.NDArray[np.float64]

_AT_ONCE = 1024

RINGS_PITCH = {"spot": 0.0, "1 ring": 1.25, "2 rings": 2.25}
"""Scale -> radius of the mean around a spot, in pitches."""
NOWHERE = "none"
"""The finest scale of a unit that is readable at none."""


def around(xy_um: npt.ArrayLike, radius_um: float) -> sparse.csr_matrix:
    """Return the matrix (n, n) that averages each spot and all spots within a radius.

    Parameters
    ----------
    xy_um
        (n, 2) centres, µm.
    radius_um
        µm; 0 = the spot alone.
    """
    xy = np.asarray(xy_um, np.float64)
    if radius_um <= 0:
        return sparse.identity(len(xy), format="csr")
    (ring,) = rings(xy, xy, (0.0, radius_um))
    count = np.diff(ring.indptr)
    own = sparse.diags_array(1 / (1 + count)).tocsr()
    return sparse.csr_matrix(own + sparse.diags_array(count / (1 + count)) @ ring)


@dataclass(frozen=True, eq=False)
class Units:
    """What is read: single genes, means of gene sets, or weighted sums such as module scores.

    Attributes
    ----------
    kind
        ``"gene"``, ``"gene set"``, ``"module"``.
    names
        Of the units.
    weights
        CSR or dense (genes, units): a unit is ``log @ weights``.
    """

    kind: str
    names: tuple[str, ...]
    weights: sparse.csr_matrix | npt.NDArray[np.floating]

    @classmethod
    def of_genes(cls, genes: Sequence[str], chosen: Sequence[str]) -> Units:
        """Return single genes of a slide; those it does not have are left out."""
        place = {gene: number for number, gene in enumerate(genes)}
        found = [gene for gene in chosen if gene in place]
        at = np.array([place[gene] for gene in found], dtype=np.int64)
        weights = sparse.csr_matrix(
            (np.ones(len(at)), (at, np.arange(len(at)))), shape=(len(place), len(at))
        )
        return cls("gene", tuple(found), weights)

    @classmethod
    def of_sets(cls, genes: Sequence[str], sets: Mapping[str, Sequence[str]]) -> Units:
        """Return the mean of each set's genes that the slide has; sets of none are left out."""
        place = {gene: number for number, gene in enumerate(genes)}
        at = {
            name: [place[gene] for gene in dict.fromkeys(members) if gene in place]
            for name, members in sets.items()
        }
        at = {name: places for name, places in at.items() if places}
        weights = sparse.lil_matrix((len(place), len(at)))
        for column, places in enumerate(at.values()):
            weights[places, column] = 1 / len(places)
        return cls("gene set", tuple(at), sparse.csr_matrix(weights))


@dataclass(frozen=True, eq=False)
class ScaleScores:
    """Units of one slide at one scale.

    Attributes
    ----------
    slide, patient, held_out, blocks
        Whose they are.
    kind, scale, names
        What they are.
    pearson, ceiling
        float64 (units,).
    replicates
        float32 (replicates, units): Pearson's correlation over resampled blocks.
    """

    slide: str
    patient: str | None
    held_out: HeldOut
    blocks: int
    kind: str
    scale: str
    names: tuple[str, ...]
    pearson: Floats
    ceiling: Floats
    replicates: npt.NDArray[np.float32]


def score_scales(
    slide: MeasuredSlide,
    prediction: Prediction,
    units: Sequence[Units],
    pitch_um: float,
    *,
    scales: Sequence[str] = tuple(RINGS_PITCH),
    replicates: int = REPLICATES,
    seed: int = 0,
) -> list[ScaleScores]:
    """Score units of one slide at scales of :data:`RINGS_PITCH`.

    Parameters
    ----------
    slide
        What was measured.
    prediction
        Of the genes of `prediction.columns`.
    units
        Over those genes.
    pitch_um
        Distance of neighbouring spots, µm.
    scales
        Which.
    replicates, seed
        Of the bootstrap over blocks of spots.
    """
    columns = np.arange(len(slide.genes)) if prediction.columns is None else prediction.columns
    mean = np.asarray(prediction.mean)
    blocks = spot_blocks(slide.xy_um)
    weights = draw_weights(int(blocks.max()) + 1, replicates, seed)
    found = []
    for scale in scales:
        matrix = around(slide.xy_um, RINGS_PITCH[scale] * pitch_um)
        for unit in units:
            if not unit.names:
                continue

            used = np.flatnonzero(np.asarray(abs(unit.weights).sum(axis=1)).ravel())
            read = partial(_read, unit.weights[used], matrix)
            x, y = read(slide.log[:, columns[used]]), read(mean[:, used])
            pearson = pearson_per_gene(x, y)
            pearson[np.isnan(pearson) & (np.ptp(x, axis=0) > 0)] = 0.0
            found.append(
                ScaleScores(
                    slide=slide.name,
                    patient=slide.patient,
                    held_out=slide.held_out,
                    blocks=weights.shape[1],
                    kind=unit.kind,
                    scale=scale,
                    names=unit.names,
                    pearson=pearson,
                    ceiling=noise_ceiling(
                        slide.counts,
                        slide.columns[columns[used]],
                        splits=CEILING_SPLITS,
                        seed=seed,
                        read=read,
                    ),
                    replicates=_replicates(x, y, blocks, weights),
                )
            )
    return found


def _read(
    weights: sparse.csr_matrix | npt.NDArray[np.floating],
    matrix: sparse.csr_matrix,
    log: npt.NDArray[np.floating],
) -> npt.NDArray[np.floating]:
    """Weigh genes (spots, genes) into units, and average these over neighbours."""
    return np.asarray(matrix @ (log @ weights))


def _replicates(
    truth: npt.NDArray[np.floating],
    mean: npt.NDArray[np.floating],
    blocks: npt.NDArray[np.int64],
    weights: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """Return Pearson's correlation over resampled blocks, (replicates, units)."""
    level = np.zeros(len(truth))
    parts = [
        BlockMoments(truth[:, at : at + _AT_ONCE], mean[:, at : at + _AT_ONCE], level, blocks)
        .metrics(weights)["pearson"]
        .astype(np.float32)
        for at in range(0, truth.shape[1], _AT_ONCE)
    ]
    return np.concatenate(parts, axis=1)


def scale_table(scores: Sequence[ScaleScores], *, seed: int = 0) -> pd.DataFrame:
    """Average units over slides and patients, and say at which scale each may be read.

    Parameters
    ----------
    scores
        Of all slides, from :func:`score_scales`.
    seed
        Of the draws of patients.

    Returns
    -------
    pandas.DataFrame
        A row a unit and scale: kind, unit, scale, held_out, pearson, low, high, level, units,
        ceiling, pearson_over_ceiling, ``reliability`` (see
        :func:`hypergene.evaluation.classes.reliability_classes`), ``readable`` (class A or B) and
        ``readable_at``, the finest scale at which the unit is readable ("none" if at none);
        ``optimistic``.
    """
    groups: dict[tuple[HeldOut, str, str], list[ScaleScores]] = {}
    for one in scores:
        groups.setdefault((one.held_out, one.kind, one.scale), []).append(one)
    parts = []
    for (held_out, kind, scale), group in groups.items():
        names = list(dict.fromkeys(name for one in group for name in one.names))
        patients = {one.slide: one.patient for one in group}
        blocks = {one.slide: one.blocks for one in group}
        pearson = average(
            {s.slide: pd.Series(s.pearson, list(s.names)).reindex(names) for s in group},
            {
                s.slide: pd.DataFrame(s.replicates, columns=list(s.names)).reindex(columns=names)
                for s in group
            },
            patients,
            blocks,
            seed=seed,
        )
        ceilings = pd.DataFrame(
            [pd.Series(s.ceiling, list(s.names)).reindex(names) for s in group]
        ).mean()
        low, high = (
            bounds(pearson.value, pearson.replicates) if pearson.units > 1 else (np.nan, np.nan)
        )
        table = pd.DataFrame(
            {
                "kind": kind,
                "unit": names,
                "scale": scale,
                "held_out": held_out,
                "pearson": pearson.value,
                "low": low,
                "high": high,
                "level": pearson.level,
                "units": pearson.units,
                "ceiling": ceilings.to_numpy(),
            }
        )
        table["pearson_over_ceiling"] = table["pearson"] / table["ceiling"].where(
            table["ceiling"] > 0
        )
        table["reliability"] = reliability_classes(table["pearson"], table["low"], table["ceiling"])
        table["readable"] = table["reliability"].isin(READABLE)
        note = () if scale == "spot" else (COARSE,)
        parts.append(table.assign(optimistic=optimism(held_out, "given", *note)))
    if not parts:
        return pd.DataFrame()
    joined = pd.concat(parts, ignore_index=True)
    order = {scale: number for number, scale in enumerate([*RINGS_PITCH, NOWHERE])}
    keys = ["held_out", "kind", "unit"]
    finest = joined["scale"].where(joined["readable"], NOWHERE).map(order)
    best = finest.groupby([joined[key] for key in keys]).transform("min")
    joined["readable_at"] = best.map(dict(enumerate(order)))
    return joined
