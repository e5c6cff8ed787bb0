"""Is one method better than another: paired differences, and rules that were written down before.

The rules are those of a pre-registered comparison (docs/claim.md): thresholds are constants here,
and a rule says in words why it holds or fails.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hypergene.evaluation.bootstrap import Interval, average, interval, sign_flip

Floats = npt.NDArray[np.float64]

WORTH = 0.01
"""Gain in mean Pearson from which a method helps."""
TOLERATED = 0.005
"""Loss in mean Pearson up to which it is harmless; per standard deviation of a dose, too."""
SIGNIFICANT = 0.05
ENOUGH_PATIENTS = 6
"""Fewer can never be significant by flipping signs: 2 / 2^5 > 0.05."""
ONE_OF = 8
"""At most one patient in so many may be worse off."""


class Scored(NamedTuple):
    """One metric of one method.

    Attributes
    ----------
    values
        Slide -> value.
    replicates
        Slide -> (replicates,) of a bootstrap over blocks of spots, drawn alike for all methods.
    """

    values: Mapping[str, float]
    replicates: Mapping[str, Floats]


class Cohort(NamedTuple):
    """The slides that are compared on.

    Attributes
    ----------
    patients
        Slide -> patient.
    blocks
        Slide -> number of blocks of spots.
    """

    patients: Mapping[str, str | None]
    blocks: Mapping[str, int]


class Paired(NamedTuple):
    """A mean over slides and patients, most often of a difference.

    Attributes
    ----------
    interval
        With its 95 % interval.
    by_patient
        Patient -> mean over its slides.
    p
        By flipping signs of patients, two-sided; NaN with one patient.
    """

    interval: Interval
    by_patient: dict[Hashable, float]
    p: float


class Verdict(NamedTuple):
    """Whether a rule holds, and a sentence that says why or why not."""

    holds: bool
    why: str


def mean_of(one: Scored, cohort: Cohort, *, seed: int = 0) -> Paired:
    """Average a metric over slides and patients.

    Parameters
    ----------
    one
        The metric.
    cohort
        Whose slides they are.
    seed
        Of the draws of patients; the same for all methods that are compared.

    Raises
    ------
    ValueError
        Without slides.
    """
    mean = average(one.values, one.replicates, cohort.patients, cohort.blocks, seed=seed)
    by_patient = {patient: float(value) for patient, value in mean.by_patient.items()}
    p = sign_flip(list(by_patient.values())) if len(by_patient) > 1 else float("nan")
    found = interval(float(mean.value), mean.replicates, mean.level, mean.units)
    return Paired(found, by_patient, p)


def paired(main: Scored, other: Scored, cohort: Cohort, *, seed: int = 0) -> Paired:
    """Average the difference `main` less `other`, slide by slide and replicate by replicate.

    Parameters
    ----------
    main, other
        A metric of two methods on the same slides.
    cohort, seed
        As in :func:`mean_of`.
    """
    return mean_of(combined([main, other], [1.0, -1.0]), cohort, seed=seed)


def slope(doses: Sequence[float], by_dose: Sequence[Scored], cohort: Cohort) -> Paired:
    """Fit the least-squares slope of a metric over doses, on each slide and replicate.

    Parameters
    ----------
    doses
        At least two different ones.
    by_dose
        The metric at each dose, on the same slides.
    cohort
        As in :func:`mean_of`.

    Raises
    ------
    ValueError
        All doses are equal.
    """
    centred = np.asarray(doses, np.float64) - np.mean(doses)
    if not centred.any():
        raise ValueError("a slope needs two different doses")
    return mean_of(combined(by_dose, centred / (centred @ centred)), cohort)


def combined(parts: Sequence[Scored], weights: npt.ArrayLike) -> Scored:
    """Return the weighted sum of a metric of several methods on the same slides.

    Raises
    ------
    ValueError
        They are not of the same slides.
    """
    slides = list(parts[0].values)
    if any(set(part.values) != set(slides) for part in parts):
        raise ValueError("methods were scored on different slides")
    shares = np.asarray(weights, np.float64)
    return Scored(
        {s: float(shares @ [part.values[s] for part in parts]) for s in slides},
        {s: np.tensordot(shares, [part.replicates[s] for part in parts], 1) for s in slides},
    )


def helps(pearson: Paired, mse: Paired) -> Verdict:
    """Decide whether a method helps: it must gain enough, surely, for nearly all patients.

    Mean Pearson rises by at least 0.01 with the whole interval above 0, the mean squared error is
    not higher, at most one patient in 8 is worse off and flipping signs gives p < 0.05. With fewer
    than 6 patients the last two cannot be asked, and the sentence says so.

    Parameters
    ----------
    pearson, mse
        Differences to the bar: see :func:`paired`.
    """
    found = pearson.interval
    failed = []
    if not found.value >= WORTH:
        failed.append(f"the gain {found.value:+.4f} is below {WORTH:+.2f}")
    if not found.low > 0:
        failed.append(f"the interval {_range(found)} is not above 0")
    if not mse.interval.value <= 0:
        failed.append(f"the squared error is higher by {mse.interval.value:+.4f}")
    patients = len(pearson.by_patient)
    few = patients < ENOUGH_PATIENTS
    if not few:
        worse = sum(value < 0 for value in pearson.by_patient.values())
        if worse > patients // ONE_OF:
            failed.append(f"{worse} of {patients} patients are worse off")
        if not pearson.p < SIGNIFICANT:
            failed.append(f"flipping signs gives p = {pearson.p:.3f}")
    why = "; ".join(failed) or f"{found.value:+.4f} {_range(found)}, squared error not higher"
    if few:
        why += f" ({patients} patient{'s' * (patients != 1)}: intervals are of {found.level}s)"
    return Verdict(not failed, why)


def harmless(pearson: Paired) -> Verdict:
    """Decide whether a method is harmless: the lower bound of its gain is above -0.005."""
    low = pearson.interval.low
    return Verdict(bool(low > -TOLERATED), f"lower bound {low:+.4f}, -{TOLERATED} is allowed")


def credited(pearson: Paired) -> Verdict:
    """Decide whether a part is credited: the interval of what it adds is above 0."""
    found = pearson.interval
    return Verdict(bool(found.low > 0), f"{found.value:+.4f} {_range(found)}")


def flat(slope_of: Paired) -> Verdict:
    """Decide whether a slope is flat: it surely falls by less than 0.005 a unit of dose."""
    found = slope_of.interval
    return Verdict(bool(found.low > -TOLERATED), f"{found.value:+.4f} {_range(found)} per sd")


def falls(slope_of: Paired) -> Verdict:
    """Decide whether a slope is negative: its interval is below 0."""
    found = slope_of.interval
    return Verdict(bool(found.high < 0), f"{found.value:+.4f} {_range(found)} per sd")


def _range(found: Interval) -> str:
    return f"[{found.low:+.4f}, {found.high:+.4f}]"
