"""Samples that are the same tissue under two names, which a split must never put on both sides.

HER2ST's patients E to H are STNet's BC23567, BC23810, BC23903 and BC24044: other names, other gene
identifiers, other spots kept. So neither names nor genes are compared, but what every processing
leaves: how the depth of the spots runs over the array. The depths of two samples are laid on each
other at every shift and symmetry of the array that brings their deepest spots together, and their
ranks correlated. Sections cut next to each other are alike, but not spot by spot.

Measured on the 35 HER2ST sections (tests/benchmarks/data_checks.py), each of the 595 pairs at the
best of all shifts and symmetries: at most 0.81 for two patients and 0.85 for sections cut next to
each other; patches of 25 to 150 spots reach 0.89 by chance. Copies of the 35 with 90 % of the
genes, counts thinned to 95 %, 30 % of the spots dropped and the array shifted: 0.997 to 1.000; with
a tenth of the genes 0.956 to 0.998. The threshold lies in the gap.

Counts that are the same to the last one are found even without an array, spot by spot.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from anndata import AnnData
from scipy import sparse, stats

from hypergene.features.cache import file_fingerprint
from hypergene.pipeline.checks.verdict import Verdict
from hypergene.st.lattice import lattice_of

#: Rank correlation from which depths are those of the same spots; real pairs reach 0.89.
SAME_DEPTH = 0.94
#: Share of the smaller sample's spots that are the same count for count; real pairs reach 0.00.
SAME_COUNTS = 0.5
#: Spots in common, and as a share of the smaller sample, without which nothing is said.
_FEWEST, _COMMON = 24, 0.5

#: So many of the so many deepest spots must meet, at one of up to so many shifts of a symmetry.
_STARS, _MEETING, _SHIFTS = 24, 9, 5
_MOST_SPOTS = 20_000
#: Bins closer than `_FINE_UM` are pooled to squares of `_POOLED_UM`, µm.
_FINE_UM, _POOLED_UM = 50.0, 100.0
#: The counts of shallower spots coincide by chance.
_DEEP_ENOUGH = 300
_MOST_PRINTS = 5_000

#: A place (x, y) as one number, so that the difference of two numbers is their shift.
_ROW = 1 << 24
_TURNS = tuple(
    np.diag(signs)[list(order)]
    for order in ((0, 1), (1, 0))
    for signs in itertools.product((1, -1), repeat=2)
)


@dataclass(frozen=True, eq=False)
class Sketch:
    """What is kept of a sample to know it again: at most 0.5 MB.

    Attributes
    ----------
    places
        int64 (n, 2), column and row on the array, or on the lattice of the positions; empty where
        there is none. At most 20,000: finer ones are pooled.
    rank
        float32 (n,), rank of the mean counts there, as a share of n, in the same order.
    prints
        uint64, sorted: one number for the counts of each of the deepest 5,000 spots with at least
        300 counts, whatever the names and the order of the genes.
    """

    places: npt.NDArray[np.int64]
    rank: npt.NDArray[np.float32]
    prints: npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Twin:
    """Two samples of one tissue.

    Attributes
    ----------
    samples
        Their names.
    what
        ``"data"``: the same counts, count for count; ``"tissue"``: the same depths.
    spots
        Spots compared.
    likeness
        For data the share of the smaller sample's spots that are in the other, for tissue the rank
        correlation of the depths.
    """

    samples: tuple[str, str]
    what: Literal["data", "tissue"]
    spots: int
    likeness: float


def sketch(adata: AnnData) -> Sketch:
    """Keep what is needed to know a sample again.

    Parameters
    ----------
    adata
        Canonical data: ``layers["counts"]``, ``obs`` (array_row, array_col, total_counts),
        ``obsm["spatial"]``, and the layout in ``uns["hypergene"]`` if it is known.
    """
    totals = adata.obs["total_counts"].to_numpy(np.float64)
    places = _places(adata)
    known = len(places) > 0
    if known:
        places, totals = _pooled(places, totals)
    while len(places) > _MOST_SPOTS:
        places, totals = _pooled(places // 2, totals)
    rank = stats.rankdata(totals) / len(totals) if known else np.empty(0)
    return Sketch(places, rank.astype(np.float32), _prints(adata.layers["counts"]))


def find_twins(sketches: Mapping[str, Sketch]) -> list[Twin]:
    """Compare all samples with each other.

    Parameters
    ----------
    sketches
        By name of the sample.

    Returns
    -------
    list of Twin
        At most one a pair: the same data, else the same tissue.
    """
    twins = {}
    for one, other in itertools.combinations(sketches, 2):
        found = _same_counts(sketches[one].prints, sketches[other].prints)
        if found is not None:
            twins[one, other] = Twin((one, other), "data", *found)
    names = [name for name, one in sketches.items() if len(one.places) >= _FEWEST]
    for (first, second), places in _meetings([sketches[name] for name in names]):
        pair = names[first], names[second]
        if pair in twins:
            continue
        found = _same_depth(sketches[pair[0]], sketches[pair[1]], places)
        if found is not None:
            twins[pair] = Twin(pair, "tissue", *found)
    return list(twins.values())


def twin_verdicts(
    twins: Sequence[Twin], patients: Mapping[str, str | None] | None = None
) -> list[Verdict]:
    """Say which samples are the same.

    Parameters
    ----------
    twins
        From :func:`find_twins`.
    patients
        Patient of each sample, if known: twins of one patient stay on one side of a split by
        patients, so that they only count twice.

    Returns
    -------
    list of Verdict
        ``same_data`` (fails) and ``same_tissue`` (fails, but warns within one patient).
    """
    verdicts = []
    for twin in twins:
        one, other = twin.samples
        patient = {(patients or {}).get(name) for name in twin.samples}
        together = len(patient) == 1 and None not in patient
        fix = "Keep one of them."
        if twin.what == "data":
            message = (
                f"{one} and {other} hold the same data: {twin.likeness:.0%} of the spots of the "
                f"smaller one are in the other, count for count ({twin.spots:,} spots)."
            )
        else:
            message = (
                f"{one} and {other} are the same tissue under two names: the depths of their "
                f"{twin.spots:,} common spots have a rank correlation of {twin.likeness:.3f}, and "
                f"even neighbouring sections stay below {SAME_DEPTH}."
            )
            if not together:
                fix = (
                    "Keep one of them, or give both the same patient, so that no split has them "
                    "on both sides."
                )
        level: Literal["warn", "fail"] = "warn" if together and twin.what == "tissue" else "fail"
        verdicts.append(Verdict(level, f"same_{twin.what}", twin.samples, message, fix))
    return verdicts


def same_slides(slides: Mapping[str, Path | None]) -> list[Verdict]:
    """Find images with the same content under several samples, whatever the files are called.

    Parameters
    ----------
    slides
        Image of each sample; those without one, or whose file cannot be read, are left out.

    Returns
    -------
    list of Verdict
        ``same_slide``, which warns: two sections may well be on one image.
    """
    by_content: dict[tuple[Any, Any], list[str]] = {}
    for sample, slide in slides.items():
        if slide is None:
            continue
        try:
            found = file_fingerprint(slide)
        except OSError:
            continue
        content = found["size"], found["sha256_of_samples"]
        by_content.setdefault(content, []).append(sample)
    return [
        Verdict(
            "warn",
            "same_slide",
            tuple(samples),
            f"{', '.join(samples[:-1])} and {samples[-1]} have the same image "
            f"({slides[samples[0]]}).",
            "If it shows a section of each that is fine; else name each its own.",
        )
        for samples in by_content.values()
        if len(samples) > 1
    ]


def _places(adata: AnnData) -> npt.NDArray[np.int64]:
    """Return column and row of each spot, counted in any origin; empty without a lattice."""
    array = adata.obs[["array_col", "array_row"]].to_numpy(np.int64)
    about = adata.uns["hypergene"]
    layout = about.get("layout") or {}
    pitch_um = layout.get("pitch_um")
    if (array >= 0).all():
        if pitch_um is None or pitch_um >= _FINE_UM:
            return array
        return np.floor((array + 0.5) * pitch_um / _POOLED_UM).astype(np.int64)
    xy_px = np.asarray(adata.obsm["spatial"], np.float64)
    pitch_px, lattice = about.get("pitch_px"), layout.get("lattice", "given")
    if lattice == "given":
        lattice = lattice_of(xy_px)
    if lattice is None or not pitch_px:
        return np.empty((0, 2), np.int64)
    # Columns of a hexagonal lattice are half a pitch apart, as Visium counts them.
    step_px = pitch_px * (np.array([0.5, math.sqrt(3) / 2]) if lattice == "hexagon" else 1.0)
    turn = np.exp(2j * np.pi * xy_px / step_px).mean(axis=0)
    return np.rint(xy_px / step_px - np.angle(turn) / (2 * np.pi)).astype(np.int64)


def _pooled(
    places: npt.NDArray[np.int64], totals: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return each place once, with its mean counts."""
    once, index, number = np.unique(places, axis=0, return_inverse=True, return_counts=True)
    return once, np.bincount(index.ravel(), weights=totals) / number


def _prints(counts: Any) -> npt.NDArray[np.uint64]:
    """Sum a hash of every count of a spot: the same in any order, and with genes of no count."""
    matrix = sparse.csr_matrix(counts)
    totals = np.asarray(matrix.sum(axis=1)).ravel()
    deep = np.flatnonzero(totals >= _DEEP_ENOUGH)
    deep = deep[np.argsort(-totals[deep], kind="stable")[:_MOST_PRINTS]]
    if not deep.size:
        return np.empty(0, np.uint64)
    matrix = matrix[deep]
    return np.unique(np.add.reduceat(_hash(matrix.data), matrix.indptr[:-1]))


def _hash(values: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Scatter integers over 64 bits, as the generator splitmix64 does.

    G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    bits = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _same_counts(
    one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]
) -> tuple[int, float] | None:
    """Return how many spots of the smaller sample are in the other, and as a share."""
    smaller = min(len(one), len(other))
    if smaller < _FEWEST:
        return None
    common = len(np.intersect1d(one, other, assume_unique=True))
    return (common, common / smaller) if common / smaller >= SAME_COUNTS else None


def _numbers(places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return places[:, 0] * _ROW + places[:, 1]


def _meetings(
    sketches: Sequence[Sketch],
) -> Iterator[tuple[tuple[int, int], list[npt.NDArray[np.int64]]]]:
    """Find pairs whose deepest spots fall on each other, and how the second has to lie for that.

    Yields
    ------
    pair : tuple of int
        Indices of two sketches, the first the lower.
    places : list of numpy.ndarray
        Places of the second sketch on the array of the first, by symmetry.
    """
    stars = [one.places[np.argsort(-one.rank, kind="stable")[:_STARS]] for one in sketches]
    turned = np.array([[_numbers(deepest @ turn) for deepest in stars] for turn in _TURNS])
    for first in range(len(sketches) - 1):
        shifts = turned[0, first][None, None, :, None] - turned[:, first + 1 :, None, :]
        shifts = np.sort(shifts.reshape(*shifts.shape[:2], -1), axis=2)
        often = shifts[..., _MEETING - 1 :] == shifts[..., : 1 - _MEETING]
        for later in map(int, np.flatnonzero(often.any(axis=(0, 2)))):
            places: list[npt.NDArray[np.int64]] = []
            second = sketches[first + 1 + later]
            for way in np.flatnonzero(often[:, later].any(axis=1)):
                values, votes = np.unique(shifts[way, later], return_counts=True)
                most = np.argsort(-votes, kind="stable")[:_SHIFTS]
                there = _numbers(second.places @ _TURNS[way])
                places += [there + values[i] for i in most if votes[i] >= _MEETING]
            yield (first, first + 1 + later), places


def _same_depth(
    one: Sketch, other: Sketch, places: Sequence[npt.NDArray[np.int64]]
) -> tuple[int, float] | None:
    """Correlate the ranks where places coincide; return spots and correlation if it is the same."""
    own = _numbers(one.places)
    order = np.argsort(own)
    own, rank = own[order], one.rank[order]
    needed = max(_FEWEST, _COMMON * min(len(one.places), len(other.places)))
    found: list[tuple[float, int]] = []
    for there in places:
        at = np.minimum(np.searchsorted(own, there), len(own) - 1)
        met = own[at] == there
        if (number := int(met.sum())) >= needed:
            found.append((_correlation(rank[at[met]], other.rank[met]), number))
    likeness, number = max(found, default=(0.0, 0))
    return (number, likeness) if likeness >= SAME_DEPTH else None


def _correlation(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Return Pearson's correlation; 0 if either does not vary."""
    x, y = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (one, other))
    spread = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / spread if spread > 0 else 0.0
