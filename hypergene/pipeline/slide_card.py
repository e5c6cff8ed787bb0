"""The card of a predicted slide: what speaks for and against trusting it, and a verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hypergene.model.network import HyperGene
from hypergene.pipeline.provenance import text_array
from hypergene.slide import Slide, TissueMask
from hypergene.slide.spectrum import tissue_spectrum
from hypergene.slide.stain import stain_vectors

FAR = 0.99
"""A spot is out of distribution from this ``ood_score`` on: the last percent of what it is
compared with."""
_AGAINST = {
    "patient": "tissue of the patients that were held out of training",
    "section": "tissue of the patients the model was trained on, and it knows no others",
    "training": "tissue the model was trained on",
}
_CAUTION_SHARE, _REFUSE_SHARE = 0.2, 0.5
# Dyes of two slides of one laboratory lie a few degrees apart; this much is added to what the
# training slides differ by among themselves.
_STAIN_SLACK_DEGREES = 10.0
# Likewise: sections of one laboratory differ by 0.1, a resolution wrong by a factor of 2 by 1.
_SPECTRUM_SLACK = 0.5
# So many times what is usual: out of focus, or a resolution wrong by 2 (docs/ood-flag.md).
_FAR_OFF = 2.0


def slide_card(
    slide: Slide, mask: TissueMask, obs: pd.DataFrame, model: HyperGene
) -> tuple[dict[str, Any], list[str]]:
    """Judge a predicted slide.

    Parameters
    ----------
    slide, mask
        The slide and its tissue.
    obs
        Its predicted spots: ``readable``, ``ood_score``.
    model
        What predicted it.

    Returns
    -------
    card
        Plain values: mpp, mpp_source, tissue_share, ood_share, ood_against, stains, stain_degrees,
        stain_limit_degrees, fine_structure, fine_structure_limit, verdict (``"ok"``,
        ``"caution"`` or ``"refuse"``), reasons.
    reasons
        Sentences for the user, the same; what the slide itself warns of is among them.
    """
    cautions: list[str] = list(slide.warnings)
    refusals: list[str] = []
    if unreadable := int((~obs["readable"]).sum()):
        cautions.append(
            f"{unreadable:,} of {len(obs):,} spots could not be read whole: what could not be "
            "read was taken as white."
        )
    how = model.config.held_out
    against = "training" if how is None or how.distances is None else how.distances
    far = float((obs["ood_score"] >= FAR).mean())
    if far > _CAUTION_SHARE:
        (refusals if far > _REFUSE_SHARE else cautions).append(
            f"This slide looks unlike {_AGAINST[against]}: {far:.0%} of its spots do (ood_score at "
            f"least {FAR:g}), where 1% would. That speaks of the slide, and not of which spots are "
            "predicted worse."
        )
    if not slide.mpp.plausible:
        refusals.append(
            f"{slide.mpp.x:g} µm/px ({slide.mpp.source}) is no resolution of a scanned slide."
        )
    stains = stain_vectors(slide, mask)
    known = None if model.stains is None else model.stains.cpu().numpy().astype(np.float64)
    degrees, limit = stain_distance(stains, known)
    if degrees > limit:
        cautions.append(
            f"Its dyes are {degrees:.0f} degrees from those of the nearest training slide, where "
            f"up to {limit:.0f} are usual: another stain, scanner or laboratory."
        )
    spectrum = tissue_spectrum(slide, mask)
    structures = None if model.spectra is None else model.spectra.cpu().numpy().astype(np.float64)
    sharpness, usual = spectrum_distance(spectrum, structures)
    if abs(sharpness) > usual:
        is_soft = sharpness < 0
        what = "out of focus" if is_soft else "another tissue or scanner"
        (refusals if abs(sharpness) > _FAR_OFF * usual else cautions).append(
            f"It has {'less' if is_soft else 'more'} fine structure than the training slides "
            f"({sharpness:+.1f}, where up to {usual:.1f} is usual): {what}, or a resolution in "
            f"truth {'finer' if is_soft else 'coarser'} than {slide.mpp.x:g} µm/px."
        )
    reasons = [*refusals, *cautions]
    verdict = "refuse" if refusals else "caution" if cautions else "ok"
    card: dict[str, Any] = {
        "mpp": np.array([slide.mpp.x, slide.mpp.y]),
        "mpp_source": slide.mpp.source,
        "tissue_share": float(mask.mask.mean()),
        "ood_share": far,
        "ood_against": against,
        "stain_degrees": degrees,
        "stain_limit_degrees": limit,
        "fine_structure": sharpness,
        "fine_structure_limit": usual,
        "verdict": verdict,
        "reasons": text_array(reasons),
    }
    if stains is not None:
        card["stains"] = stains
    return card, reasons


def stain_distance(
    stains: NDArray[np.float64] | None, known: NDArray[np.float64] | None
) -> tuple[float, float]:
    """Compare a slide's dyes with those of the training slides.

    Parameters
    ----------
    stains
        (2, 3), of the slide; None = unknown.
    known
        (slides, 2, 3), of the training slides; None = unknown.

    Returns
    -------
    degrees, limit
        The greater angle of both dyes to the nearest training slide; and what is usual: the
        greatest such angle among the training slides themselves, and 10 degrees. NaN = unknown.
    """
    if stains is None or known is None or not len(known):
        return float("nan"), float("nan")
    usual = 0.0
    if len(known) > 1:
        between = np.stack([_angles(one, known) for one in known])
        np.fill_diagonal(between, np.inf)
        usual = float(between.min(axis=1).max())
    return float(_angles(stains, known).min()), usual + _STAIN_SLACK_DEGREES


def spectrum_distance(
    spectrum: NDArray[np.float64] | None, known: NDArray[np.float64] | None
) -> tuple[float, float]:
    """Compare a slide's fine structure with that of the training slides.

    Parameters
    ----------
    spectrum
        (bands,), of the slide, see :func:`hypergene.slide.spectrum.tissue_spectrum`; None =
        unknown.
    known
        (slides, bands), of the training slides; None = unknown.

    Returns
    -------
    difference, limit
        Mean over bands of the natural logarithm of power, less that of the training slide that is
        nearest to it: negative for a slide with less fine structure; and how far from 0 is usual:
        the greatest such distance among the training slides, and 0.5. NaN = unknown.
    """
    if spectrum is None or known is None or not len(known):
        return float("nan"), float("nan")
    levels, own = np.sort(known.mean(axis=1)), float(spectrum.mean())
    gaps = np.diff(levels)
    usual = 0.0
    if len(gaps):
        usual = float(np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf)).max())
    nearest = float(levels[np.abs(levels - own).argmin()])
    return own - nearest, usual + _SPECTRUM_SLACK


def sentence(card: dict[str, Any]) -> str:
    """Say the card in one line."""
    mpp, degrees = float(np.mean(card["mpp"])), card["stain_degrees"]
    stain = "" if np.isnan(degrees) else f", dyes {degrees:.0f} degrees from training"
    return (
        f"verdict {card['verdict']} ({mpp:.3g} µm/px by {card['mpp_source']}, "
        f"{card['tissue_share']:.0%} tissue, {card['ood_share']:.0%} of the spots out of "
        f"distribution{stain})"
    )


def _angles(stains: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the greater of both dyes' angles to each training slide, degrees (slides,)."""
    cosine = np.einsum("kd,skd->sk", stains, known).clip(-1, 1)
    greatest: NDArray[np.float64] = np.degrees(np.arccos(cosine)).max(axis=1)
    return greatest
