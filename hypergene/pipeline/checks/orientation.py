"""Whether the spots lie on the image the right way round, or x and y are swapped or mirrored.

Where cells are crowded the image is dark with haematoxylin and the spots have many counts. So the
positions as given are compared with their seven other symmetries: how much of the counts lies on
tissue, and how well the depth of the spots on tissue follows the haematoxylin under them. Both
fall off towards the edges of most sections whatever lies where, so each spot is compared with its
surroundings, not with the section.

Measured on the five HER2ST sections with images (176-283 spots; tests/benchmarks/data_checks.py):
the rank correlation of local contrasts is 0.43-0.57 the right way round and at most 0.28 in any of
the 14 wrong ones. With the depths of other sections, which have nothing to do with the image, it
spreads by 0.09 around 0, near 1 / sqrt(spots); without the surroundings taken off by 0.14. All 70
wrong copies are named, 96 % with six in ten of the spots, 93 % where the image is all tissue; and
none of 299 copies with the right positions, most of them with too few spots or depths that mean
nothing, is called wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from anndata import AnnData
from scipy import sparse, stats
from scipy.spatial import cKDTree

from hypergene.pipeline.checks.haematoxylin import Place, haematoxylin_under
from hypergene.pipeline.checks.symmetry import IDENTITY, SYMMETRIES, Symmetry
from hypergene.pipeline.checks.verdict import Verdict
from hypergene.slide import Slide, TissueMask

#: Radius of a spot's surroundings, µm: three rings of legacy ST, six of Visium.
_SURROUNDINGS_UM = 650.0
#: Spots smaller than `_SMALL_UM` are pooled to squares of `_POOLED_UM`, µm.
_SMALL_UM, _POOLED_UM = 50.0, 100.0
#: And so are more spots than this.
_MOST_SPOTS = 20_000
#: Fewer spots on tissue than this have no correlation, and than that none that stands out.
_FEWEST, _FEW = 10, 40

_ON_TISSUE = 0.5
# A symmetry has to be better than the positions as given by this much, and its correlation has to
# stand out of chance. Set where no copy with the right positions was ever called wrong.
_GAIN, _GAIN_OF_FEW = 0.2, 2.0
_LEAST_CORRELATION, _DEVIATIONS = 0.2, 3.0
# Where depth says nothing, tissue alone may raise a doubt.
_DOUBT_FROM, _DOUBT_TO = 0.5, 0.9

Finding = Literal["confirmed", "wrong", "doubtful", "unclear"]


@dataclass(frozen=True)
class Evidence:
    """What speaks for one symmetry.

    Attributes
    ----------
    tissue_share
        Share of the spots of which at least half lies on tissue, 0..1.
    umi_share
        Share of all counts that these spots hold, 0..1: spots beside the tissue, which some data
        keep, hardly matter.
    correlation
        Spearman's, of log counts with haematoxylin, each less the mean of its surroundings, over
        the spots on tissue; 0 where there are fewer than 10.
    spots
        Number of spots on tissue.
    fix
        What the symmetry does to the positions, as two assignments.
    """

    tissue_share: float
    umi_share: float
    correlation: float
    spots: int
    fix: str

    @property
    def score(self) -> float:
        """Share of the counts on tissue + correlation, -1..2."""
        return self.umi_share + self.correlation

    @property
    def stands_out(self) -> bool:
        """Whether the correlation is more than chance, and on enough spots to say so."""
        chance = _DEVIATIONS / math.sqrt(max(self.spots, 1))
        return self.spots >= _FEW and self.correlation >= max(_LEAST_CORRELATION, chance)


@dataclass(frozen=True)
class Orientation:
    """How the spots of a sample lie on its image.

    Attributes
    ----------
    best
        Name of the symmetry with the highest score; ``"identity"``: as given.
    finding
        ``"confirmed"``: as given, and no other comes near; ``"wrong"``: another is better beyond
        doubt; ``"doubtful"``: another holds far more tissue, but depth does not decide;
        ``"unclear"``: not enough evidence.
    sentence
        The finding in words, with its figures.
    evidence
        By symmetry.
    verdicts
        One if the finding is ``"wrong"`` (it fails) or ``"doubtful"`` (it warns).
    """

    best: str
    finding: Finding
    sentence: str
    evidence: dict[str, Evidence]
    verdicts: list[Verdict]

    @property
    def scores(self) -> dict[str, float]:
        """Score by symmetry."""
        return {name: found.score for name, found in self.evidence.items()}

    @property
    def tissue_share(self) -> dict[str, float]:
        """Share of the spots on tissue by symmetry, 0..1."""
        return {name: found.tissue_share for name, found in self.evidence.items()}


def check_orientation(
    sample: str,
    slide: Slide,
    mask: TissueMask,
    adata: AnnData,
    diameter_um: float,
    shape: Literal["circle", "square"],
) -> Orientation:
    """Compare depth with tissue and haematoxylin over the eight symmetries of the square.

    A symmetry other than the identity is tried twice, within the frame of the image (the image was
    turned, or x and y confused) and about the middle of the spots (the array was), and the better
    one counts. Spots that it puts outside the image are not on tissue.

    Parameters
    ----------
    sample
        Its name.
    slide
        Its open image.
    mask
        The tissue on it.
    adata
        Canonical data: ``obsm["spatial"]`` (x, y) level-0 px, ``obs["total_counts"]``.
    diameter_um
        Diameter of a spot, or side of a square, µm.
    shape
        Its shape.

    Raises
    ------
    SlideError
        If the slide's pixels cannot be decoded.
    """
    xy_px = np.asarray(adata.obsm["spatial"], np.float64)
    counts = adata.obs["total_counts"].to_numpy(np.float64)
    mpp = np.array([slide.mpp.x, slide.mpp.y])
    if diameter_um < _SMALL_UM or len(xy_px) > _MOST_SPOTS:
        xy_px, counts = _pooled(xy_px, counts, _POOLED_UM / mpp)
        diameter_um, shape = _POOLED_UM, "square"
    evidence = weigh(
        xy_px,
        counts,
        slide.dimensions,
        near=neighbours(xy_px * mpp),
        tissue=lambda xy: mask.fraction(xy, diameter_um, slide.mpp, shape),
        haematoxylin=haematoxylin_under(slide, diameter_um, shape),
    )
    return judge(sample, slide, evidence)


def weigh(
    xy_px: npt.NDArray[np.float64],
    counts: npt.NDArray[np.float64],
    dimensions_px: tuple[int, int],
    *,
    near: sparse.csr_matrix,
    tissue: Place,
    haematoxylin: Place,
) -> dict[str, Evidence]:
    """Find what speaks for each symmetry.

    Parameters
    ----------
    xy_px
        Spot centres (x, y), float (n, 2), level-0 px.
    counts
        Total counts of each spot, (n,), above 0.
    dimensions_px
        Width and height of the image.
    near
        Which spots surround which, from :func:`neighbours`.
    tissue, haematoxylin
        From positions, float (n, 2) level-0 px, to the share of each spot on tissue, 0..1, and to
        the dye under it, in any unit.

    Returns
    -------
    dict
        Evidence by the name of the symmetry, the identity first.
    """
    depth = np.log(counts)
    evidence = {}
    middle = (xy_px.min(axis=0) + xy_px.max(axis=0)) / 2
    for symmetry in SYMMETRIES:
        shifts = [symmetry.within(dimensions_px), symmetry.about(middle)]
        found = []
        for shift in shifts[:1] if symmetry is IDENTITY else shifts:
            place = symmetry.right(xy_px, shift)
            on = tissue(place) >= _ON_TISSUE
            found.append(
                Evidence(
                    tissue_share=float(on.mean()),
                    umi_share=float(counts[on].sum() / counts.sum()),
                    correlation=_correlation(depth, haematoxylin(place), on, near),
                    spots=int(on.sum()),
                    fix=symmetry.fix(shift),
                )
            )
        evidence[symmetry.name] = max(found, key=lambda one: one.score)
    return evidence


def neighbours(
    xy_um: npt.NDArray[np.float64], radius_um: float = _SURROUNDINGS_UM
) -> sparse.csr_matrix:
    """Find which spots lie within a radius of each other, themselves included.

    Parameters
    ----------
    xy_um
        Spot centres, float (n, 2), µm.
    radius_um
        The radius, µm.

    Returns
    -------
    scipy.sparse.csr_matrix
        float32 (n, n), 1 where they do. No symmetry changes it.
    """
    tree = cKDTree(xy_um)
    pairs = tree.query_pairs(radius_um, output_type="ndarray")
    own = np.arange(len(xy_um))
    row = np.concatenate([pairs[:, 0], pairs[:, 1], own])
    column = np.concatenate([pairs[:, 1], pairs[:, 0], own])
    ones = np.ones(len(row), np.float32)
    return sparse.csr_matrix((ones, (row, column)), shape=(len(own), len(own)))


def judge(sample: str, slide: Slide, evidence: dict[str, Evidence]) -> Orientation:
    """Say what the evidence amounts to.

    Parameters
    ----------
    sample, slide
        Whose it is; named in the sentences.
    evidence
        By the name of the symmetry.
    """
    given = evidence[IDENTITY.name]
    best = max(SYMMETRIES, key=lambda symmetry: evidence[symmetry.name].score)
    found = evidence[best.name]
    others = [one for name, one in evidence.items() if name != best.name]
    second = max(others, key=lambda one: one.score)
    # Depth that falls where nuclei crowd, as in some tissues, speaks for the positions too.
    as_given = given.umi_share + abs(given.correlation)
    margin = _GAIN + _GAIN_OF_FEW / math.sqrt(max(found.spots, 1))
    verdicts: list[Verdict] = []
    if best is IDENTITY:
        sure = found.stands_out and found.score - second.score >= margin
        finding: Finding = "confirmed" if sure else "unclear"
    elif (
        found.stands_out
        and found.correlation > given.correlation
        and found.score - as_given >= margin
    ):
        # Wrong it is; half the margin over the second best says which way.
        finding = "wrong" if found.score - second.score >= margin / 2 else "doubtful"
    elif (
        found.spots >= _FEWEST
        and found.tissue_share >= _DOUBT_TO
        and given.tissue_share <= _DOUBT_FROM
    ):
        finding = "doubtful"
    else:
        finding = "unclear"
    sentence = _SENTENCES[finding].format(
        given=_figures(given), best=best.wrong, found=_figures(found), second=_figures(second)
    )
    if finding in ("wrong", "doubtful"):
        verdicts.append(_turned(sample, slide, best, found, finding, sentence))
    return Orientation(best.name, finding, sentence, evidence, verdicts)


_SENTENCES: dict[Finding, str] = {
    "confirmed": "as given: {given}; any other way at best {second}",
    "wrong": "{best}: {found} once put right, against {given} as given",
    "doubtful": "perhaps {best}: {found} once put right, against {given} as given",
    "unclear": "not enough evidence: {given} as given",
}


def _figures(found: Evidence) -> str:
    return (
        f"{found.tissue_share:.0%} of the spots on tissue, correlation of depth with "
        f"haematoxylin {found.correlation:.2f}"
    )


def _turned(
    sample: str, slide: Slide, best: Symmetry, found: Evidence, finding: Finding, sentence: str
) -> Verdict:
    message = f"{sample}: its spots on {slide.path} are {sentence}."
    fix = f"Take {found.fix}, or the image as it was when the spots were placed."
    if found.fix == "x = pixel_y, y = pixel_x":
        fix = "pixel_x and pixel_y are swapped: exchange them (x is the pixel column, y the row)."
    if finding == "doubtful":
        fix = f"Look at the contact sheet; if it is so: {fix[0].lower()}{fix[1:]}"
    return Verdict("fail" if finding == "wrong" else "warn", best.name, (sample,), message, fix)


def _correlation(
    depth: npt.NDArray[np.float64],
    dye: npt.NDArray[Any],
    on: npt.NDArray[np.bool_],
    near: sparse.csr_matrix,
) -> float:
    """Correlate the contrasts of depth and dye with the surroundings that lie on tissue too."""
    if on.sum() < _FEWEST:
        return 0.0
    weight = on.astype(np.float64)
    number = np.maximum(near @ weight, 1)
    contrasts = [(value - (near @ (value * weight)) / number)[on] for value in (depth, dye)]
    if min(float(np.ptp(contrast)) for contrast in contrasts) < 1e-9:
        return 0.0
    return float(stats.spearmanr(*contrasts).statistic)


def _pooled(
    xy_px: npt.NDArray[np.float64],
    counts: npt.NDArray[np.float64],
    side_px: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean positions and mean counts of the spots in each square."""
    _, square = np.unique(np.floor(xy_px / side_px).astype(np.int64), axis=0, return_inverse=True)
    square = square.ravel()
    number = np.bincount(square)
    sums = [np.bincount(square, weights=values) for values in (*xy_px.T, counts)]
    x, y, mean = (values / number for values in sums)
    return np.column_stack([x, y]), mean
