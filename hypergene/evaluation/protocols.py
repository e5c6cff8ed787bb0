"""Published ways to score, for comparison with published figures; each is labelled everywhere.

A protocol changes what predictions are compared with, and may fit a baseline of its own. None is
comparable with the figures of this package, and both flatter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from hypergene.evaluation.optimism import ORACLE
from hypergene.evaluation.scales import around
from hypergene.evaluation.slide_scores import MeasuredSlide, Prediction
from hypergene.st.normalise import log1p_cp10k

ProtocolName = Literal["hest-bench", "triplex"]

NEIGHBOURS_MEAN = "mean of the neighbours' truth (oracle)"
_NOT_OURS = "published protocol, not comparable with hypergene's"
# Between the diagonal of a square lattice (1.41 pitches) and the second neighbours of a hexagonal
# one (1.73), so that positions may be off by a tenth of a pitch.
_WINDOW_PITCH = 1.57
_PROBE_COMPONENTS = 256


def log1p_counts(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return ln(1 + counts) without library normalisation, float32 CSR (n, all genes)."""
    return sparse.csr_matrix(counts, dtype=np.float32).log1p()


@dataclass(frozen=True)
class Protocol:
    """A published way to score.

    Attributes
    ----------
    name
        As on the command line.
    truth
        What predictions are compared with, in words.
    label
        Stands beside every figure.
    normalise
        Makes log values of counts over all genes, CSR (n, all genes) of both.
    window_pitch
        Radius over which truth is averaged, in pitches; 0 = single spots.
    """

    name: ProtocolName
    truth: str
    label: str
    normalise: Callable[[sparse.csr_matrix], sparse.csr_matrix]
    window_pitch: float = 0.0

    def kernel(self, xy: npt.ArrayLike, pitch: float) -> sparse.csr_matrix | None:
        """Return what averages spots at `xy` (n, 2), in the units of `pitch`; None = nothing."""
        return around(xy, self.window_pitch * pitch) if self.window_pitch else None

    def targets(
        self,
        counts: sparse.csr_matrix,
        columns: npt.NDArray[np.int64],
        kernel: sparse.csr_matrix | None,
    ) -> npt.NDArray[np.float32]:
        """Return what is to be predicted, float32 (n, genes).

        Parameters
        ----------
        counts
            Over all genes measured, CSR (n, all genes).
        columns
            int64 (genes,): where the genes are in them.
        kernel
            (n, n), from :meth:`kernel`.
        """
        log: npt.NDArray[np.float32] = self.normalise(counts)[:, columns].toarray()
        return log if kernel is None else np.asarray(kernel @ log, np.float32)

    def slide(self, slide: MeasuredSlide, pitch_um: float) -> MeasuredSlide:
        """Return a slide with the truth of this protocol, labelled."""
        kernel = self.kernel(slide.xy_um, pitch_um)
        return replace(
            slide,
            log=self.targets(slide.counts, slide.columns, kernel),
            note=self.label,
            normalise=self.normalise,
            kernel=kernel,
        )

    def predictions(self, methods: Mapping[str, Prediction]) -> dict[str, Prediction]:
        """Return predictions of single spots, log1p CP10k, as this protocol reads them.

        Their spread is of single spots and is left out; where the truth is of other units, only
        correlations are reported.
        """
        same = self.normalise is log1p_cp10k
        return {
            name: replace(one, std=None, scaled=one.scaled and same)
            for name, one in methods.items()
        }

    def oracles(self, slide: MeasuredSlide, pitch_um: float) -> dict[str, Prediction]:
        """Return what scores well under this protocol without an image.

        Parameters
        ----------
        slide
            As measured, not yet with this protocol's truth.
        pitch_um
            Distance of neighbouring spots, µm.
        """
        kernel = self.kernel(slide.xy_um, pitch_um)
        if kernel is None:
            return {}
        others = sparse.csr_matrix(kernel - sparse.diags_array(kernel.diagonal()))
        weight = np.asarray(others.sum(axis=1)).ravel()
        mean = (others @ slide.log) / np.where(weight > 0, weight, 1)[:, None]
        return {NEIGHBOURS_MEAN: Prediction(mean, note=ORACLE, held_out="patient")}


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "hest-bench": Protocol(
        "hest-bench",
        "ln(1 + counts), not normalised by library size (HEST-Bench)",
        f"HEST-Bench: {_NOT_OURS}, OPTIMISTIC: counts without library normalisation",
        log1p_counts,
    ),
    "triplex": Protocol(
        "triplex",
        "log1p of counts per 10,000, averaged over a spot and the up to 8 around it (TRIPLEX)",
        f"TRIPLEX: {_NOT_OURS}, OPTIMISTIC: smoothed targets",
        log1p_cp10k,
        _WINDOW_PITCH,
    ),
}


@dataclass(frozen=True, eq=False)
class HestProbe:
    """The probe of HEST-Bench: standardised features, 256 principal components, ridge.

    Ridge has the penalty ``100 / (components × genes)`` and no intercept, as HEST-Bench fits it
    (Jaume et al. 2024). Components are fewer where there are fewer features or spots.

    Attributes
    ----------
    fitted
        The pipeline.
    components
        How many there are.
    """

    fitted: Pipeline
    components: int

    @classmethod
    def fit(
        cls, features: Sequence[npt.ArrayLike], targets: Sequence[npt.ArrayLike], *, seed: int = 0
    ) -> HestProbe:
        """Fit on training slides, pooled.

        Parameters
        ----------
        features
            One (spots, features) array a slide.
        targets
            One (spots, genes) array a slide.
        seed
            Of the solver of the components.
        """
        x = np.concatenate([np.asarray(slide, np.float64) for slide in features])
        y = np.concatenate([np.asarray(slide, np.float64) for slide in targets])
        components = min(_PROBE_COMPONENTS, *x.shape)
        pipeline = make_pipeline(
            StandardScaler(),
            PCA(components, random_state=seed),
            Ridge(100 / (components * y.shape[1]), fit_intercept=False),
        )
        return cls(pipeline.fit(x, y), components)

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"HEST-Bench probe (PCA-{self.components}, ridge)"

    def predict(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Predict spots, float64 (spots, genes)."""
        found: npt.NDArray[np.float64] = self.fitted.predict(np.asarray(features, np.float64))
        return found
