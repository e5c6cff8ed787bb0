"""Whether the image is the one that the positions are pixels of, and how large its pixels are.

Space Ranger keeps only reduced copies of the image (``spatial/tissue_hires_image.png``), while its
positions are pixels of the full-resolution one, which the lab has to name. So the copies are often
given instead; or positions come already scaled to them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from anndata import AnnData

from hypergene.pipeline.checks.scale import Fit, Scale
from hypergene.pipeline.checks.verdict import Level, Verdict
from hypergene.slide import Slide
from hypergene.slide.resolution import TOLERANCE

#: What Space Ranger calls the pictures in its folder ``spatial``; none is the full-resolution one.
_COPIES = {
    "tissue_hires_image": "hires",
    "tissue_lowres_image": "lowres",
    "detected_tissue_image": "hires",
    "aligned_fiducials": "hires",
    "aligned_tissue_image": "hires",
}

#: µm per px beyond which an image shows no cells; 2 is an objective of 5x.
_COARSE_MPP = 2.0
#: µm per px that a histology image can have.
_PLAUSIBLE_MPP = (0.05, 5.0)
#: Two resolutions that differ by more contradict each other; beyond `_FAR_APART` nothing can be
#: learned at the wrong one.
_DISAGREE, _FAR_APART = TOLERANCE, 0.25
#: Spots that reach less far than this, as a share of width and height, are crowded in the corner.
_CORNER = 1 / 3
#: A factor is named if it puts so many of the spots on tissue, and this much better than none.
_ON_TISSUE, _GAIN = 0.8, 0.4
#: A smaller share of spots outside may as well be a shift, a crop or another section.
_MOST_OUTSIDE = 0.5
_FIXED = "Name the full-resolution image that the spots were placed on{size} in the column 'slide'"


def check_image(sample: str, slide: Slide, adata: AnnData) -> list[Verdict]:
    """Look for a reduced image, positions in another image's pixels, and a wrong resolution.

    Parameters
    ----------
    sample
        Its name.
    slide
        Its open image.
    adata
        Canonical data: ``obsm["spatial"]`` (x, y) level-0 px, ``obs["total_counts"]``, and from
        ``uns["hypergene"]`` what it has of hires_scale, lowres_scale, layout, pitch_px,
        spot_diameter_px, mpp, mpp_source.

    Returns
    -------
    list of Verdict
        ``hires_image`` or ``lowres_image`` (a reduced copy was given), ``scaled_positions``,
        ``spots_outside``; where none of these explains it ``mpp_disagrees``, ``implausible_mpp``,
        ``coarse_image``; and ``slide_warning``, what opening the slide had to say.

    Raises
    ------
    SlideError
        If the slide's pixels cannot be decoded.
    """
    look = _Look(sample, slide, adata)
    found = look.reduced_image() or look.scaled_positions() or look.spots_outside()
    return [*([found] if found else look.resolution()), *look.warnings()]


class _Look:
    """One sample's image and positions, and the questions asked of them."""

    def __init__(self, sample: str, slide: Slide, adata: AnnData) -> None:
        self.sample, self.slide = sample, slide
        self.about = adata.uns["hypergene"]
        self.xy_px = np.asarray(adata.obsm["spatial"], np.float64)
        self.counts = adata.obs["total_counts"].to_numpy(np.float64)
        self.mpp = (slide.mpp.x + slide.mpp.y) / 2
        self.outside = float(self._outside(self.xy_px).mean())
        self.copy = next((_COPIES[name] for name in _COPIES if name in slide.path.stem), None)
        layout, pitch_px = self.about.get("layout"), self.about.get("pitch_px")
        self.by_pitch = float(layout["pitch_um"]) / pitch_px if layout and pitch_px else None

    def reduced_image(self) -> Verdict | None:
        """Find spots that are outside, but would not be if the image were larger by some factor."""
        if not self.outside:
            coarse = self.by_pitch is not None and self.by_pitch > _COARSE_MPP
            return self._reduced(self.copy, None) if self.copy and coarse else None
        if self.outside < _MOST_OUTSIDE or self._fits_swapped():
            return None
        fit = Fit(self.slide, self.xy_px, self.counts)
        for name in ("hires", "lowres"):
            scale = self.about.get(f"{name}_scale")
            if scale and not self._outside(self.xy_px * scale).any():
                return self._reduced(name, fit.at(float(scale)))
        best = fit.best()
        if self.copy or self._clearly(best, fit.at(1.0)):
            return self._reduced(self.copy or "hires", best)
        return None

    def scaled_positions(self) -> Verdict | None:
        """Find positions too small for the image: in its corner, or closer than their pitch."""
        if self.outside:
            return None
        reach = (self.xy_px.max(axis=0) / self.slide.dimensions).max()
        by_pitch = self.by_pitch / self.mpp if self.by_pitch else 1.0
        if reach >= _CORNER and by_pitch <= 1 + _DISAGREE:
            return None
        fit = Fit(self.slide, self.xy_px, self.counts)
        given = fit.at(1.0)
        tried = (fit.at(by_pitch), fit.best())
        best = next((scale for scale in tried if self._clearly(scale, given)), given)
        if best.factor <= 1 + _DISAGREE:
            return None
        factor, what = self._kind(best.factor)
        width, height = self.slide.dimensions
        return self._verdict(
            "fail",
            "scaled_positions",
            f"all spots lie in the first {reach:.1%} of {self.slide.path} ({width} × {height} px), "
            f"{given.on_tissue:.0%} of them on tissue, but {best.on_tissue:.0%} if their positions "
            f"are multiplied by {best.factor:.3g}: {what}",
            f"Multiply the positions by {factor:.4g}: they must be pixels of this image.",
        )

    def spots_outside(self) -> Verdict | None:
        """Find spots outside that no factor explains."""
        if not self.outside:
            return None
        low, high = self.xy_px.min(axis=0), self.xy_px.max(axis=0)
        width, height = self.slide.dimensions
        fix = "x and y must be pixels of this image in full resolution: is it that of this section?"
        if self._fits_swapped():
            fix = "With x and y swapped all of them would fit: exchange pixel_x and pixel_y."
        return self._verdict(
            "fail",
            "spots_outside",
            f"{self.outside:.0%} of the spots lie outside {self.slide.path}: x runs from "
            f"{low[0]:.0f} to {high[0]:.0f} and y from {low[1]:.0f} to {high[1]:.0f}, but it is "
            f"{width} × {height} px",
            fix,
        )

    def resolution(self) -> Iterator[Verdict]:
        """Find resolutions that contradict each other, or are none of a histology image."""
        told = [("the pitch of the spots", self.by_pitch)]
        if "mpp" in self.about:
            source = str(self.about.get("mpp_source", "the data"))
            told.insert(0, (source, float(np.mean(self.about["mpp"]))))
        used = self.slide.mpp.source
        if used == "--mpp" and told[0][1] and math.isclose(told[0][1], self.mpp):
            used = told[0][0]
        others = [(who, mpp) for who, mpp in told if mpp and abs(mpp / self.mpp - 1) > _DISAGREE]
        if others:
            against = " and ".join(f"{mpp:.3g} by {who}" for who, mpp in others)
            worst = max(abs(math.log(mpp / self.mpp)) for _, mpp in others)
            yield self._verdict(
                "fail" if worst > math.log(1 + _FAR_APART) else "warn",
                "mpp_disagrees",
                f"{self.slide.path} has {self.mpp:.3g} µm/px by {used}, which is used, but "
                f"{against}",
                "Give the true µm per pixel in the column 'mpp' or with --mpp; the pitch is right "
                "if platform and positions are.",
            )
        mpp = self.by_pitch or self.mpp
        low, high = _PLAUSIBLE_MPP
        if not low <= mpp <= high:
            yield self._verdict(
                "fail",
                "implausible_mpp",
                f"{self._pixels(mpp)}, but histology images have {low:g} to {high:g} µm/px",
                f"{_FIXED.format(size='')}, and its µm per pixel in the column 'mpp'.",
            )
        elif mpp > _COARSE_MPP:
            yield self._verdict(
                "warn",
                "coarse_image",
                f"{self._pixels(mpp)}, too coarse to see cells",
                f"{_FIXED.format(size='')}; if this is the finest there is, expect little of it.",
            )

    def warnings(self) -> list[Verdict]:
        """Return what opening the slide had to say: a resolution in the file that is not used..."""
        fix = (
            "Look at the image, and give its µm per pixel in the column 'mpp' if that is in doubt."
        )
        said = (warning.rstrip(".") for warning in self.slide.warnings)
        return [
            self._verdict("warn", "slide_warning", f"{self.slide.path}: {sentence}", fix)
            for sentence in said
        ]

    def _reduced(self, name: str, fit: Scale | None) -> Verdict:
        width, height = self.slide.dimensions
        size, why = "", self._pixels(self.by_pitch or self.mpp)
        if fit is not None:
            full = " × ".join(f"{round(side / fit.factor, -1):,.0f}" for side in (width, height))
            size = f", about {full} px,"
            why = (
                f"{self.outside:.0%} of the spots lie outside it, but {fit.on_tissue:.0%} on its "
                f"tissue if their positions are multiplied by {fit.factor:.3g}"
            )
        fix = f"{_FIXED.format(size=size)}."
        if self.copy or "hires_scale" in self.about:
            fix += " Space Ranger's outs do not hold it."
        return self._verdict(
            "fail",
            f"{name}_image",
            f"{self.slide.path} ({width} × {height} px) is a reduced copy of the image: {why}",
            fix,
        )

    def _kind(self, factor: float) -> tuple[float, str]:
        """Say what positions are that are too small by a factor, and the factor more exactly."""
        for name in ("hires", "lowres"):
            scale = self.about.get(f"{name}_scale")
            if scale and abs(factor * scale - 1) <= _DISAGREE:
                return 1 / scale, f"they are pixels of the {name} copy (its scale is {scale:.4g})"
        if self.by_pitch and abs(self.by_pitch - 1) <= _DISAGREE:
            return 1 / self.mpp, "they look like micrometres, as spots are their pitch in µm apart"
        if (self.about.get("pitch_px") or 3) < 3:
            return factor, "they look like places on the array, not pixels"
        return factor, "they are pixels of a smaller image"

    def _pixels(self, mpp: float) -> str:
        layout, diameter_px = self.about.get("layout"), self.about.get("spot_diameter_px")
        if layout:
            diameter_px = layout["diameter_um"] / mpp
        size = f", and a spot is {diameter_px:.0f} px across" if diameter_px else ""
        return f"its pixels are {mpp:.3g} µm{size}"

    def _clearly(self, best: Scale, given: Scale) -> bool:
        return best.on_tissue >= _ON_TISSUE and best.score - given.score >= _GAIN

    def _fits_swapped(self) -> bool:
        return not self._outside(self.xy_px[:, ::-1]).any()

    def _outside(self, xy_px: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        return np.any((xy_px < 0) | (xy_px >= self.slide.dimensions), axis=1)

    def _verdict(self, level: Level, code: str, what: str, fix: str) -> Verdict:
        return Verdict(level, code, (self.sample,), f"{self.sample}: {what}.", fix)
