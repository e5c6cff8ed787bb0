"""Ridge regression whose penalty is chosen by leaving whole groups out, in closed form.

Leaving single spots out would flatter small penalties: ring means of neighbours share tissue with
the spot left out, and the features were trained on it. (Measured on HER2ST: penalties by
leave-one-spot-out gave a held-out Pearson of 0.12 on the 50 most variable genes where those by
leave-one-slide-out gave 0.42.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]

_SMALLEST = 1e-9
"""Of eigenvalues: what is smaller is rounding."""
_LARGEST = 1.5
"""Of a group that is taken out by blocks of H, times inputs / sqrt(penalties): there both ways took
the same time (2,048 inputs, 21 penalties). Moments cost inputs cubed a group, blocks the size of
the group squared times inputs a penalty.
"""


class Decomposition(NamedTuple):
    """A table x (n, p) and targets y (n, k) in the singular vectors of x.

    Attributes
    ----------
    basis
        (p, r), right singular vectors.
    singular
        (r,) singular values > 0.
    projected
        (r, k), y in the left singular vectors.
    """

    basis: Floats
    singular: Floats
    projected: Floats

    def weights(self, penalty: float | Floats) -> Floats:
        """Ridge weights (p, k) for a penalty, one for all or one a target (k,)."""
        return self.predict(self.basis, penalty)

    def predict(self, inside: Floats, penalty: float | Floats) -> Floats:
        """Ridge predictions (m, k) at rows that are in the basis already, (m, r)."""
        shrunk = self.singular[:, None] / (self.singular[:, None] ** 2 + penalty)
        predictions: Floats = inside @ (shrunk * self.projected)
        return predictions


def decompose(x: Floats, y: Floats) -> Decomposition:
    """Decompose a table (n, p) with targets (n, k), by whichever side of it is shorter."""
    if len(x) < x.shape[1]:
        u, singular, vt = np.linalg.svd(x, full_matrices=False)
        return Decomposition(vt.T, singular, u.T @ y)
    # Many spots: the Gram matrix keeps time and memory linear in them.
    return _from_moments(x.T @ x, x.T @ y)


def _from_moments(gram: Floats, moment: Floats) -> Decomposition:
    squared, basis = np.linalg.eigh(gram)
    singular = np.sqrt(squared.clip(_SMALLEST))
    return Decomposition(basis, singular, (basis.T @ moment) / singular[:, None])


def leave_groups_out(
    x: Floats, y: Floats, groups: Groups, penalties: Floats, whole: Decomposition | None = None
) -> Floats:
    r"""Predict every spot by the ridge that is fitted without its group.

    No group is refitted from the spots. A small group g is taken out of the fit to all by

    .. math:: y_g - f_{-g}(x_g) = (I - H_{gg})^{-1} (y_g - f(x_g)),\quad
        H = X (X^T X + \lambda I)^{-1} X^T,

    which is :math:`(A^{-1})_{gg}^{-1} (A^{-1} y)_g` with :math:`A = X X^T + \lambda I`, the
    leave-one-out residual of kernel ridge (Rasmussen and Williams 2006, *Gaussian processes for
    machine learning*, section 5.4.2) for blocks; a large one by taking its moments off those of
    all.

    Parameters
    ----------
    x
        (n, p) inputs.
    y
        (n, k) targets.
    groups
        (n,) what is left out together; at least two different ones.
    penalties
        (l,) > 0.
    whole
        ``decompose(x, y)``, if it is there already.

    Returns
    -------
    ndarray
        (l, n, k) float64.
    """
    whole = decompose(x, y) if whole is None else whole
    found = np.empty((len(penalties), *y.shape))
    largest = _LARGEST * x.shape[1] / np.sqrt(len(penalties))
    moments = None
    for group in np.unique(groups):
        rows = groups == group
        own, targets = x[rows], y[rows]
        if len(x) >= x.shape[1] and len(own) > largest:
            moments = (x.T @ x, x.T @ y) if moments is None else moments
            rest = _from_moments(moments[0] - own.T @ own, moments[1] - own.T @ targets)
            inside = own @ rest.basis
            for place, penalty in enumerate(penalties):
                found[place, rows] = rest.predict(inside, penalty)
        else:
            inside = own @ whole.basis
            for place, penalty in enumerate(penalties):
                missed = targets - whole.predict(inside, penalty)
                hat = (inside / (whole.singular**2 + penalty)) @ inside.T
                found[place, rows] = targets - np.linalg.solve(np.eye(len(own)) - hat, missed)
    return found


def choose_penalties(
    x: Floats, y: Floats, groups: Groups, penalties: Floats, whole: Decomposition | None = None
) -> tuple[Floats, Floats]:
    """Choose the penalty of each target by the squared error on groups left out.

    Parameters
    ----------
    x, y, groups, penalties, whole
        As :func:`leave_groups_out` takes them.

    Returns
    -------
    tuple of ndarray
        (k,) penalties, and (k,) their mean squared errors.
    """
    left_out = leave_groups_out(x, y, groups, penalties, whole)
    left_out -= y
    error = np.square(left_out, out=left_out).mean(1)
    return penalties[error.argmin(0)], error.min(0)
