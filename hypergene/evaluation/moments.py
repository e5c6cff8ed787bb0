"""Every metric from sums over blocks of spots, so that spots can be resampled without being read.

A bootstrap draws blocks with repetition, which is to say with weights; Pearson's correlation, its
partial form, errors and variances are all functions of weighted sums. So a replicate costs one
product of the weights with the blocks' sums, for all genes at once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from hypergene.evaluation.metrics import METRICS, VARIANCE_FLOOR

Floats = npt.NDArray[np.float64]

# Below this share of a column's own variance, what is left of it in a replicate is rounding.
_ROUNDING = 1e-10


class BlockMoments:
    """Sums over blocks of the spots of one slide.

    Parameters
    ----------
    truth, prediction
        Shape (spots, genes), finite.
    log_depth
        Shape (spots,).
    blocks
        int (spots,): number of each spot's block, from 0.
    """

    def __init__(
        self,
        truth: npt.ArrayLike,
        prediction: npt.ArrayLike,
        log_depth: npt.ArrayLike,
        blocks: npt.NDArray[np.integer],
    ) -> None:
        x, y = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
        depth = np.asarray(log_depth, np.float64)
        self._place = np.zeros((int(blocks.max()) + 1, len(x)))
        self._place[blocks, np.arange(len(x))] = 1.0
        # Sums of squares of centred values lose no digits.
        self._level = x.mean(axis=0) - y.mean(axis=0)
        self._values = self._sums(_centred(x), _centred(y), _centred(depth))
        self._ranks = self._sums(
            _centred(rankdata(x, axis=0)), _centred(rankdata(y, axis=0)), _centred(rankdata(depth))
        )
        self._absolute = self._place @ np.abs(x - y)
        self._floor = _ROUNDING * x.var(axis=0), _ROUNDING * y.var(axis=0)
        self._spots = self._place.sum(axis=1)

    def metrics(self, weights: npt.ArrayLike) -> dict[str, Floats]:
        """Return all metrics of weighted blocks.

        Spearman's correlation is Pearson's of the ranks among all spots, which are not ranked anew
        in each replicate.

        Parameters
        ----------
        weights
            Shape (replicates, blocks), how often each block is drawn.

        Returns
        -------
        dict
            Metric -> float64 (replicates, genes), NaN where the truth has no variance, and 0 for a
            correlation of a prediction that has none: as :func:`summarise` counts them.
        """
        w = np.asarray(weights, np.float64)
        n = (w @ self._spots)[:, None]
        mean = {name: (w @ table) / n for name, table in self._values.items()}
        x, y, d = mean["x"], mean["y"], mean["d"]
        vx, vy, vd = mean["xx"] - x**2, mean["yy"] - y**2, mean["dd"] - d**2
        xy, dx, dy = mean["xy"] - x * y, mean["dx"] - d * x, mean["dy"] - d * y
        varies = vx > self._floor[0]
        says = vy > self._floor[1]
        level = x - y + self._level
        spread = np.maximum(vx + vy - 2 * xy, 0)
        mse = spread + level**2
        trend = np.divide((dx - dy) ** 2, vd, out=np.zeros_like(mse), where=vd > 0)
        rank = {name: (w @ table) / n for name, table in self._ranks.items()}
        ranked = _covariances(rank)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {
                "pearson": xy / np.sqrt(vx * vy),
                "spearman": ranked["xy"] / np.sqrt(ranked["xx"] * ranked["yy"]),
                "pearson_beyond_depth": _partial(
                    {"xx": vx, "yy": vy, "dd": vd, "xy": xy, "dx": dx, "dy": dy}
                ),
                "spearman_beyond_depth": _partial(ranked),
                "mse": mse,
                "mae": (w @ self._absolute) / n,
                "r2": 1 - mse / vx,
                "variance_distance": (vy - vx) ** 2 / np.maximum(vx, VARIANCE_FLOOR) ** 2,
                "mse_beyond_depth": np.maximum(spread - trend, 0),
            }
        for name in METRICS:
            if "pearson" in name or "spearman" in name:
                known = np.where(says & np.isfinite(found[name]), found[name], 0.0)
                found[name] = np.where(varies, np.clip(known, -1, 1), np.nan)
        found["r2"] = np.where(varies, found["r2"], np.nan)
        return found

    def _sums(self, x: Floats, y: Floats, d: Floats) -> dict[str, Floats]:
        column = d[:, None]
        products = {"x": x, "y": y, "d": column, "xx": x * x, "yy": y * y, "dd": column**2}
        products |= {"xy": x * y, "dx": column * x, "dy": column * y}
        return {name: self._place @ table for name, table in products.items()}


def _centred(values: Floats) -> Floats:
    return values - values.mean(axis=0)


def _covariances(mean: dict[str, Floats]) -> dict[str, Floats]:
    return {pair: mean[pair] - mean[pair[0]] * mean[pair[1]] for pair in _PAIRS}


_PAIRS = ("xx", "yy", "dd", "xy", "dx", "dy")


def _partial(c: dict[str, Floats]) -> Floats:
    """Correlate x and y with d partialled out, from the covariances of all three."""
    dd = np.where(c["dd"] > 0, c["dd"], np.inf)
    x_rest = c["xx"] - c["dx"] ** 2 / dd
    y_rest = c["yy"] - c["dy"] ** 2 / dd
    known = (x_rest > _ROUNDING * c["xx"]) & (y_rest > _ROUNDING * c["yy"])
    partial: Floats = np.where(
        known, (c["xy"] - c["dx"] * c["dy"] / dd) / np.sqrt(np.abs(x_rest * y_rest)), 0.0
    )
    return partial
