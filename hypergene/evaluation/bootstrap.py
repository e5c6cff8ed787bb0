"""Intervals: over patients where there are several, over blocks of spots where there is one."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from hypergene.errors import UsageError

Floats = npt.NDArray[np.float64]
Level = Literal["patient", "spot-block", "none"]

BLOCK_UM = 1000.0
"""Side of the blocks of spots that are drawn together, µm: neighbours are not independent."""
REPLICATES = 500
CONFIDENCE = 0.95
FEW_PATIENTS = 5
"""With fewer patients a bootstrap over them is narrower than its name says."""
_EXACT_SIGNS = 14
_ROUNDING = 1e-6


class Interval(NamedTuple):
    """A value and its 95 % interval.

    Attributes
    ----------
    value, low, high
        NaN where there is none.
    level
        What was drawn: ``"patient"`` (and blocks within), ``"spot-block"``, or
        ``"none"`` with one unit only.
    units
        How many of them there are (blocks: over all slides).
    """

    value: float
    low: float
    high: float
    level: Level
    units: int


def spot_blocks(xy_um: npt.ArrayLike, size_um: float = BLOCK_UM) -> npt.NDArray[np.int64]:
    """Say which square of a grid each spot lies in.

    Parameters
    ----------
    xy_um
        Spot centres, µm, shape (spots, 2).
    size_um
        Side of a square, µm.

    Returns
    -------
    ndarray
        int64 (spots,), 0..blocks-1.

    Raises
    ------
    UsageError
        The side is not above 0.
    """
    if not size_um > 0:
        raise UsageError(f"Blocks of {size_um:g} µm are none.", hint="Give a side above 0 µm.")
    xy = np.asarray(xy_um, np.float64)
    cells = np.floor((xy - xy.min(axis=0)) / size_um).astype(np.int64)
    return np.unique(cells, axis=0, return_inverse=True)[1].ravel().astype(np.int64)


def draw_weights(units: int, replicates: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw how often each unit is in each replicate, int64 (replicates, units); rows sum to units.

    The same for the same arguments, so that two methods are resampled alike.
    """
    rng = np.random.default_rng([units, seed])
    return rng.multinomial(units, np.full(units, 1 / units), size=replicates)


def bounds(values: npt.ArrayLike, replicates: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return bias-corrected percentile intervals of bootstrap replicates (Efron 1981).

    Where replicates are off to one side of the value, as correlations over few blocks are, the
    percentiles move against it: with ``z0 = Phi^-1(share of replicates below the value)`` they are
    ``Phi(2 z0 -+ 1.96)`` instead of 2.5 and 97.5 %.

    Parameters
    ----------
    values
        Shape (columns,).
    replicates
        Shape (replicates, columns); those that are not numbers are left out.

    Returns
    -------
    low, high
        float64 (columns,); NaN where there is no value or no replicate.
    """
    value = np.asarray(values, np.float64)
    ordered = np.sort(np.asarray(replicates, np.float64), axis=0)  # NaN goes last
    count = np.isfinite(ordered).sum(axis=0)
    known = (count > 0) & np.isfinite(value)
    number = np.maximum(count, 1)
    # Rounding of float32 replicates is neither above nor below.
    near = np.abs(ordered - value) <= _ROUNDING * np.maximum(np.abs(value), 1)
    with np.errstate(invalid="ignore"):
        below = (((ordered < value) & ~near).sum(axis=0) + 0.5 * near.sum(axis=0)) / number
    z0 = norm.ppf(np.clip(below, 0.5 / number, 1 - 0.5 / number))
    tail = norm.ppf(0.5 + CONFIDENCE / 2)
    found = []
    for side in (-tail, tail):
        at = norm.cdf(2 * z0 + side) * (number - 1)
        first = np.floor(at).astype(np.int64)
        after = np.minimum(first + 1, number - 1)
        columns = np.arange(len(value))
        low, high = ordered[first, columns], ordered[after, columns]
        found.append(np.where(known, low + (at - first) * (high - low), np.nan))
    return found[0], found[1]


def interval(value: float, replicates: npt.ArrayLike, level: Level, units: int) -> Interval:
    """Return the 95 % interval of bootstrap replicates, see :func:`bounds`; none with one unit.

    Parameters
    ----------
    value
        Of all units.
    replicates
        Shape (replicates,); those that are not numbers are left out.
    level, units
        As in :class:`Interval`.
    """
    if units < 2:
        return Interval(value, np.nan, np.nan, "none", units)
    low, high = bounds([value], np.asarray(replicates, np.float64)[:, None])
    return Interval(value, float(low[0]), float(high[0]), level, units)


class Averaged(NamedTuple):
    """Values of slides, averaged over the slides of each patient and then over patients.

    Attributes
    ----------
    value
        (...,) the mean.
    replicates
        (replicates, ...) of it.
    level, units
        As in :class:`Interval`.
    by_patient
        Patient -> (...,).
    """

    value: Floats
    replicates: Floats
    level: Level
    units: int
    by_patient: dict[Hashable, Floats]


def average(
    values: Mapping[str, npt.ArrayLike],
    replicates: Mapping[str, npt.ArrayLike],
    patients: Mapping[str, str | None],
    blocks: Mapping[str, int],
    *,
    seed: int = 0,
) -> Averaged:
    """Average slides into patients and patients into one, with replicates of the result.

    With two patients or more, patients are drawn, and with each of them the blocks of spots that
    its slides' own replicates are made of (a bootstrap of two stages, Davison and Hinkley 1997,
    section 3.8); with one patient the blocks alone. Slides
    whose patient is not known are taken for one patient's.

    Parameters
    ----------
    values
        Slide -> (...,); NaN where not defined, left out of the means.
    replicates
        Slide -> (replicates, ...), over blocks of spots.
    patients
        Slide -> patient.
    blocks
        Slide -> number of blocks.
    seed
        Of the draws of patients.

    Raises
    ------
    ValueError
        Without slides.
    """
    if not values:
        raise ValueError("there are no slides")
    groups: dict[Hashable, list[str]] = {}
    for slide in values:
        groups.setdefault(patients[slide], []).append(slide)
    by_patient = {
        patient: _mean([np.asarray(values[slide], np.float64) for slide in slides])
        for patient, slides in groups.items()
    }
    value = _mean(list(by_patient.values()))
    within = {
        patient: _mean([np.asarray(replicates[slide], np.float64) for slide in slides])
        for patient, slides in groups.items()
    }
    if len(groups) == 1:
        (means,) = within.values()
        return Averaged(value, means, "spot-block", sum(blocks[s] for s in values), by_patient)
    count = len(next(iter(within.values())))
    weights = draw_weights(len(groups), count, seed)
    total = np.zeros((count, *value.shape))
    drawn = np.zeros_like(total)
    for column, table in enumerate(within.values()):
        weight = weights[:, column].reshape(-1, *[1] * value.ndim)
        known = np.isfinite(table)
        total += weight * np.where(known, table, 0.0)
        drawn += weight * known
    means = np.divide(total, drawn, out=np.full(total.shape, np.nan), where=drawn > 0)
    return Averaged(value, means, "patient", len(groups), by_patient)


def sign_flip(differences: Sequence[float], *, seed: int = 0) -> float:
    """Test whether differences of patients are centred on 0: two-sided, by flipping their signs.

    Exact for up to 14 patients, else 20,000 random flips. The smallest p that n patients allow is
    2 / 2^n, so fewer than 6 can never reach 0.05.

    Parameters
    ----------
    differences
        One a patient, finite.

    Returns
    -------
    float
        p, 0..1; 1 without any.
    """
    values = np.asarray(differences, np.float64)
    if not len(values):
        return 1.0
    if len(values) <= _EXACT_SIGNS:
        signs = np.array(list(itertools.product((1, -1), repeat=len(values))))
        extra = 0
    else:
        rng = np.random.default_rng(seed)
        signs = rng.choice((-1, 1), size=(20_000, len(values)))
        extra = 1
    flipped = np.abs(signs @ values)
    as_far = int((flipped >= abs(values.sum()) * (1 - 1e-12)).sum())
    return (as_far + extra) / (len(flipped) + extra)


def _mean(tables: Sequence[Floats]) -> Floats:
    """Average over tables what is finite; NaN where nothing is."""
    stacked = np.stack(tables)
    known = np.isfinite(stacked)
    count = known.sum(axis=0)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
