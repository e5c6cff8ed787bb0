"""One sample, opened and looked at from every side; only figures and names outlive it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from anndata import AnnData
from PIL import Image

from hypergene.errors import (
    DataError,
    HypergeneError,
    NotCountsError,
    ResolutionError,
    SlideError,
)
from hypergene.pipeline.checks.figures import figure_verdicts, off_tissue
from hypergene.pipeline.checks.genes import GeneNames
from hypergene.pipeline.checks.image import check_image
from hypergene.pipeline.checks.orientation import check_orientation
from hypergene.pipeline.checks.platform import guess_platform
from hypergene.pipeline.checks.row import SampleRow
from hypergene.pipeline.checks.twins import Sketch, sketch
from hypergene.pipeline.checks.verdict import Verdict
from hypergene.pipeline.outcome import REPORT_IT, unexpected
from hypergene.report.contact_sheet import draw_section
from hypergene.slide import Slide, find_tissue
from hypergene.spots import Layout, Spots
from hypergene.st import Sample, open_image, read_sample
from hypergene.st.pitch import nearest_pitch_px

_log = logging.getLogger(__name__)

#: The orientation of a sample whose image could be looked at, but says too little.
NOT_ENOUGH = "not enough evidence"

# How st.read says that the sheet's resolution contradicts the pitch.
_OF_RESOLUTION = "the one given is used"

# Verdicts after which the symmetries need not be tried: the positions are of another scale.
_OTHER_SCALE = {"hires_image", "lowres_image", "scaled_positions"}

# Without a layout and a diameter, spots are taken to be half as wide as they are apart: those of
# Visium and of legacy ST are.
_USUAL_DIAMETER = 0.5


@dataclass(eq=False)
class SectionCheck:
    """What is kept of a sample that was looked at.

    Attributes
    ----------
    row
        Its line in the table.
    verdicts
        What is wrong with it.
    genes, sketch
        What comparing it with other samples needs; None if the data could not be read.
    picture
        Its part of the contact sheet, if one is wanted and there is a slide.
    """

    row: SampleRow
    verdicts: list[Verdict] = field(default_factory=list)
    genes: GeneNames | None = None
    sketch: Sketch | None = None
    picture: Image.Image | None = None


def check_section(
    sample: Sample, *, mpp: float | None = None, picture_px: int | None = None
) -> SectionCheck:
    """Open a sample's data and slide and look at both; whatever fails is a verdict.

    Parameters
    ----------
    sample
        What to look at.
    mpp
        µm per level-0 px of slides for which the sheet does not say it.
    picture_px
        Longest side of a panel of the contact sheet; None = no picture is drawn.

    Returns
    -------
    SectionCheck
        Small, whatever the size of the sample.
    """
    found = SectionCheck(SampleRow.of(sample))
    try:
        _look(sample, found, mpp, picture_px)
    except HypergeneError as error:
        found.verdicts.append(_failed(sample, error, mpp))
    except Exception as error:  # a bug, which must not keep the other samples from being looked at
        _log.debug("%s", sample.sample, exc_info=True)
        message = f"{sample.sample}: {unexpected(error)}"
        found.verdicts.append(Verdict("fail", "unexpected", (sample.sample,), message, REPORT_IT))
    return found


def _failed(sample: Sample, error: HypergeneError, mpp: float | None) -> Verdict:
    """Return the verdict on a sample that could not be opened, or not be looked at to the end."""
    code = "unreadable"
    if isinstance(error, ResolutionError):
        code = "no_mpp" if (sample.mpp or mpp) is None else "implausible_mpp"
    elif isinstance(error, SlideError):
        missing = sample.slide is not None and not sample.slide.exists()
        code = "no_image" if missing else "unreadable_image"
    elif isinstance(error, NotCountsError):
        code = "normalised"
    fix = error.hint or "Copy or write the file again, or take the sample out of the sheet."
    return Verdict("fail", code, (sample.sample,), f"{sample.sample}: {error.message}", fix)


def _look(sample: Sample, found: SectionCheck, mpp: float | None, picture_px: int | None) -> None:
    """Fill in what is found, in the order in which it is found out."""
    if not sample.data.exists():
        raise DataError(f"There is no {sample.data}.", hint="Check the path.")
    adata = read_sample(sample)
    row, about = found.row, adata.uns["hypergene"]
    row.spots, row.genes = adata.shape
    row.median_umi = float(np.median(adata.obs["total_counts"]))
    row.counts_from = str(about["counts_from"])
    row.dropped = {reason: int(number) for reason, number in about["dropped"].items()}
    row.layout = about.get("layout")
    pitch_px = about.get("pitch_px") or nearest_pitch_px(adata.obsm["spatial"])
    row.pitch_px = None if pitch_px is None else float(pitch_px)
    found.genes = GeneNames.of(adata.var)
    row.species = found.genes.species.species
    found.sketch = sketch(adata)
    if "mpp" in about:
        _place(row, adata, float(np.mean(about["mpp"])), _stated_by(sample, about))
    else:
        _place(row, adata, None, None)
    found.verdicts += figure_verdicts(row)
    try:
        if sample.slide is not None:
            with _open(sample, adata, mpp, found) as slide:
                _place(row, adata, (slide.mpp.x + slide.mpp.y) / 2, row.mpp_source)
                _look_at_image(adata, slide, found, picture_px)
    finally:
        found.verdicts += _said(row, about.get("warnings", ()), found.verdicts)


def _said(row: SampleRow, sentences: Iterable[str], before: Sequence[Verdict]) -> list[Verdict]:
    """Pass on what the reader noticed, but that resolutions contradict each other only once."""
    told = any(verdict.code == "mpp_disagrees" for verdict in before)
    return [
        Verdict(
            "warn",
            "data",
            (row.sample,),
            sentence if sentence.startswith(row.sample) else f"{row.sample}: {sentence}",
            "Look at it before you train.",
        )
        for sentence in map(str, sentences)
        if not (told and _OF_RESOLUTION in sentence)
    ]


def _place(row: SampleRow, adata: AnnData, mpp: float | None, source: str | None) -> None:
    """Note the resolution and what depends on it: the pitch in µm and the platform."""
    row.mpp, row.mpp_source = mpp, source
    if mpp is not None and row.pitch_px is not None:
        row.pitch_um = row.pitch_px * mpp
    platform = guess_platform(adata, mpp)
    row.platform, row.platform_reason = platform.name, platform.reason


def _stated_by(sample: Sample, about: dict[str, Any]) -> str:
    return "sheet" if sample.mpp is not None else str(about.get("mpp_source", "data"))


def _open(sample: Sample, adata: AnnData, mpp: float | None, found: SectionCheck) -> Slide:
    """Open the slide; if nobody states its resolution, at the one that the pitch implies.

    Training would not guess it, so that is a failure; but all else can still be looked at.
    """
    about, row = adata.uns["hypergene"], found.row
    try:
        slide = open_image(sample, adata, mpp=mpp)
    except ResolutionError as error:
        implied = about.get("mpp_from_pitch")
        if implied is None or (sample.mpp or mpp) is not None:
            raise
        found.verdicts.append(
            Verdict(
                "fail",
                "no_mpp",
                (sample.sample,),
                f"{sample.sample}: {error.message}",
                f"Give it with --mpp or in the column 'mpp'; its spots are {row.pitch_px:.1f} px "
                f"apart, which at {about['layout']['pitch_um']:g} µm is {implied:.3g} µm/px.",
            )
        )
        row.mpp_source = "pitch"
        return open_image(replace(sample, mpp=implied), adata)
    if sample.mpp is not None:
        row.mpp_source = "sheet"
    elif mpp is not None or slide.mpp.source != "--mpp":
        row.mpp_source = slide.mpp.source
    return slide


def _look_at_image(
    adata: AnnData, slide: Slide, found: SectionCheck, picture_px: int | None
) -> None:
    row = found.row
    verdicts = check_image(row.sample, slide, adata)
    mask = find_tissue(slide)
    spots = _spots(adata, slide, row)
    if not mask.mask.any():
        verdicts.append(_no_tissue(row))
    elif not any(verdict.code in _OTHER_SCALE for verdict in verdicts):
        layout = spots.layout
        orientation = check_orientation(
            row.sample, slide, mask, adata, layout.diameter_um, layout.shape
        )
        row.on_tissue = orientation.tissue_share["identity"]
        sure = orientation.finding in ("confirmed", "wrong")
        row.orientation = orientation.best if sure else NOT_ENOUGH
        row.orientation_reason = orientation.sentence
        explained = orientation.verdicts or any(verdict.level == "fail" for verdict in verdicts)
        verdicts += orientation.verdicts
        verdicts += [] if explained else off_tissue(row)
    found.verdicts += verdicts
    if picture_px is not None:
        totals = adata.obs["total_counts"].to_numpy()
        found.picture = draw_section(slide, mask, spots, totals, size_px=picture_px)


def _no_tissue(row: SampleRow) -> Verdict:
    return Verdict(
        "fail",
        "no_tissue",
        (row.sample,),
        f"{row.sample}: no tissue is seen on {row.slide}.",
        "Is it the stained section, and its resolution right?",
    )


def _spots(adata: AnnData, slide: Slide, row: SampleRow) -> Spots:
    """Return the spots with their size: that of the layout, else stated, else the usual one."""
    about = adata.uns["hypergene"]
    mpp = (slide.mpp.x + slide.mpp.y) / 2
    pitch_um = (row.pitch_px or 1.0) * mpp
    diameter_um = _USUAL_DIAMETER * pitch_um
    if "spot_diameter_px" in about:
        diameter_um = float(about["spot_diameter_px"]) * mpp
    stated = row.layout or {}
    return Spots(
        xy_px=np.asarray(adata.obsm["spatial"], np.float64),
        array_row=adata.obs["array_row"].to_numpy(np.int32),
        array_col=adata.obs["array_col"].to_numpy(np.int32),
        names=adata.obs_names.to_numpy(str),
        layout=Layout(
            "given",
            "given",
            float(stated.get("diameter_um", diameter_um)),
            float(stated.get("pitch_um", pitch_um)),
            stated.get("shape", "circle"),
        ),
        mpp=(slide.mpp.x, slide.mpp.y),
    )
