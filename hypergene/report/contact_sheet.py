"""One picture of a cohort: every section's spots over its image, captioned, in a grid.

A section is drawn twice, side by side. Left: the image as it was given, with spots in their true
size. Right: the same image pale, with each spot coloured by its counts. Spots that lie beside the
tissue, or tissue without counts, are seen at once, so a swapped axis, a flip or a wrong image is.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial import cKDTree

from hypergene.report.overlay import draw_overlay
from hypergene.slide import Slide, TissueMask
from hypergene.spots import Spots

Level = Literal["ok", "warn", "fail"]

# Okabe and Ito's bluish green, orange and vermilion, darkened to be read as text on white.
_INK = {"ok": (0, 105, 77), "warn": (158, 100, 0), "fail": (176, 45, 0)}
_BLACK, _GREY, _WHITE = (25, 25, 25), (110, 110, 110), (255, 255, 255)
_NO_IMAGE = (205, 205, 205)
_COLOURMAP = "viridis"

_REACH = 1.0
"""Tissue is shown up to so far from the spots on each side, as a share of their extent."""

_MARGIN = 0.06
"""What is shown around spots and tissue, as a share of their extent, where there is image."""

_THINNED_PX = 10
"""Outlines nearer than this would hide the image: every one in a square of this side is drawn."""

_SMALLEST_SPOT_PX = 1.5
_LARGEST_OVERVIEW_PX = 4000

_GAP_PX = 14
_EMPTY, _EMPTY_PX = (238, 238, 238), 60
_TEXT_PX = {"large": 19, "title": 15, "text": 13}
_VERDICT_LINES = 2
_LINE = 1.35
"""Height of a line of text, as a share of that of its letters."""
_LANDSCAPE = 1.4


@dataclass(frozen=True)
class Card:
    """One section on the sheet.

    Attributes
    ----------
    picture
        As :func:`draw_section` draws it; None where there is nothing to draw.
    title
        Sample and patient.
    facts
        Resolution, number of spots, share on tissue.
    verdict
        What is wrong, in words; ``"ok"`` if nothing is.
    level
        How bad it is.
    """

    picture: Image.Image | None
    title: str
    facts: str
    verdict: str
    level: Level


def panel_size_px(sections: int) -> int:
    """Return the longest side of a section's picture: smaller the more there are, at most 480."""
    return next(size for most, size in ((2, 480), (6, 400), (20, 320), (sections, 240)) if
                sections <= most)  # fmt: skip


def draw_section(
    slide: Slide,
    mask: TissueMask,
    spots: Spots,
    total_counts: NDArray[np.integer],
    *,
    size_px: int,
    min_tissue: float = 0.5,
) -> Image.Image:
    """Draw a section twice: spots over its image, and their counts over a pale copy of it.

    Shown are all spots, also those outside the image, and the tissue around them.

    Parameters
    ----------
    slide
        The open slide.
    mask
        Its tissue; outlines of spots that have less of it than `min_tissue` are blue.
    spots
        The n spots, centres in level-0 px.
    total_counts
        (n,) counts of each spot; colours run from their 1st to their 99th percentile, on a
        logarithmic scale.
    size_px
        Longest side of each of the two pictures.
    min_tissue
        Least share of a spot on tissue, 0..1.

    Returns
    -------
    PIL.Image.Image
        RGB, 2 `size_px` + a gap wide and at most `size_px` high.
    """
    radius_px = spots.layout.diameter_um / 2 / np.asarray(spots.mpp)
    low, high = _window(spots.xy_px, radius_px, mask, slide.dimensions)
    scale = size_px / float((high - low).max())
    view = _view(slide, low, high, scale)
    moved = replace(spots, xy_px=spots.xy_px - low)
    few = _thinned(moved.xy_px * scale)
    on_tissue = mask.fraction(
        spots.xy_px[few], spots.layout.diameter_um, slide.mpp, spots.layout.shape
    )
    left = draw_overlay(
        np.asarray(view), scale, moved.subset(few), on_tissue, min_tissue=min_tissue
    )
    right = _coloured(view, moved.xy_px * scale, radius_px * scale, total_counts)
    pair = Image.new("RGB", (_card_width(size_px), view.height), _WHITE)
    for picture, start in ((left, 0), (right, size_px + _GAP_PX // 2)):
        pair.paste(picture, (start + (size_px - view.width) // 2, 0))
    return pair


def draw_contact_sheet(cards: Sequence[Card], note: str = "") -> Image.Image:
    """Lay the cards out in a grid, row by row, under a line that explains them.

    Parameters
    ----------
    cards
        Their pictures drawn with one `size_px`, that of :func:`panel_size_px`.
    note
        What else is to be said, below the line.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    size_px = panel_size_px(len(cards))
    width, height = _card_width(size_px), size_px + _caption_height()
    square = math.sqrt(len(cards) * height / width * _LANDSCAPE)
    columns = max(1, min(len(cards), math.ceil(square)))
    rows = [cards[start : start + columns] for start in range(0, len(cards), columns)]
    tops = [_header_height()]
    for row in rows:
        tallest = max(_EMPTY_PX if card.picture is None else card.picture.height for card in row)
        tops.append(tops[-1] + tallest + _caption_height())
    sheet = Image.new("RGB", (columns * (width + _GAP_PX) + _GAP_PX, tops[-1]), _WHITE)
    brush = ImageDraw.Draw(sheet)
    _header(sheet, brush, cards, note)
    for row, bottom in zip(rows, tops[1:], strict=True):
        bottom -= _caption_height()
        for column, card in enumerate(row):
            x = _GAP_PX + column * (width + _GAP_PX)
            if card.picture is None:
                brush.rectangle((x, bottom - _EMPTY_PX, x + width - 1, bottom - 1), fill=_EMPTY)
            else:
                sheet.paste(card.picture, (x, bottom - card.picture.height))
            _caption(brush, card, x, bottom + 4, width)
    return sheet


def _card_width(size_px: int) -> int:
    return 2 * size_px + _GAP_PX // 2


def _window(
    xy_px: NDArray[np.float64],
    radius_px: NDArray[np.float64],
    mask: TissueMask,
    dimensions_px: tuple[int, int],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners of what is shown, level-0 px: all spots, and the tissue around them."""
    low, high = xy_px.min(axis=0) - 2 * radius_px, xy_px.max(axis=0) + 2 * radius_px
    reach = _REACH * (high - low)
    first, last = (
        np.clip(corner / mask.scale, 0, mask.mask.shape[::-1]).astype(int)
        for corner in (low - reach, high + reach)
    )
    rows, columns = np.nonzero(mask.mask[first[1] : last[1], first[0] : last[0]])
    if len(rows):
        tissue = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]])
        tissue = (tissue + first) * mask.scale
        low, high = np.minimum(low, tissue[0]), np.maximum(high, tissue[1])
    margin = _MARGIN * (high - low)
    return (
        np.minimum(low, np.maximum(low - margin, 0)),
        np.maximum(high, np.minimum(high + margin, dimensions_px)),
    )


def _view(
    slide: Slide, low: NDArray[np.float64], high: NDArray[np.float64], scale: float
) -> Image.Image:
    """Draw the window (level-0 px) at `scale`; grey where the image does not reach."""
    width, height = (max(1, int(side)) for side in np.rint((high - low) * scale))
    canvas = Image.new("RGB", (width, height), _NO_IMAGE)
    full = np.array(slide.dimensions, np.float64)
    first, last = np.maximum(low, 0), np.minimum(high, full)
    if (last <= first).any():
        return canvas
    size = full * min(1.0, scale, _LARGEST_OVERVIEW_PX / full.max())
    across, down = (max(1, round(side)) for side in size)
    picture = Image.fromarray(slide.overview(across, down))
    shown = np.maximum(np.rint((last - first) * scale), 1).astype(int)
    per_px = full / (across, down)
    part = picture.resize(
        (int(shown[0]), int(shown[1])),
        Image.Resampling.BILINEAR,
        box=tuple(np.concatenate([first / per_px, last / per_px]).tolist()),
    )
    x, y = np.rint((first - low) * scale).astype(int).tolist()
    canvas.paste(part, (x, y))
    return canvas


def _thinned(xy: NDArray[np.float64]) -> NDArray[np.intp]:
    """Choose one spot of every cell of the canvas, in order."""
    cells = np.floor(xy / _THINNED_PX).astype(np.int64)
    _, chosen = np.unique(cells, axis=0, return_index=True)
    return np.sort(chosen)


def _coloured(
    view: Image.Image,
    xy: NDArray[np.float64],
    radius: NDArray[np.float64],
    total_counts: NDArray[np.integer],
) -> Image.Image:
    """Colour every px by its nearest spot, if it lies on one; the cost is that of the picture."""
    pale = np.asarray(view.convert("L"), np.float64)[..., None].repeat(3, axis=2) * 0.55 + 114
    rows, columns = np.mgrid[: view.height, : view.width]
    centres = np.column_stack([columns.ravel(), rows.ravel()]) + 0.5
    # In units of the spot's radius, which differs between the axes where the mpp does.
    reach = np.maximum(radius, _SMALLEST_SPOT_PX / 2)
    distance, nearest = cKDTree(xy / reach).query(centres / reach, distance_upper_bound=1.0)
    on_spot = np.isfinite(distance)
    depth = np.log1p(np.asarray(total_counts, np.float64))
    low, high = np.percentile(depth, [1, 99])
    level = (depth[nearest[on_spot]] - low) / max(high - low, 1e-9)
    colours = matplotlib.colormaps[_COLOURMAP](level.clip(0, 1))[:, :3] * 255
    pale.reshape(-1, 3)[on_spot] = colours
    return Image.fromarray(pale.astype(np.uint8))


def _font(kind: str, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font that matplotlib ships, which knows µ and most alphabets."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), _TEXT_PX[kind])


def _header_height() -> int:
    return _TEXT_PX["large"] + round(2 * _LINE * _TEXT_PX["text"]) + 3 * _GAP_PX


def _caption_height() -> int:
    lines = _TEXT_PX["title"] + (1 + _VERDICT_LINES) * _TEXT_PX["text"]
    return round(_LINE * lines) + 4 + 2 * _GAP_PX


def _header(
    sheet: Image.Image, brush: ImageDraw.ImageDraw, cards: Sequence[Card], note: str
) -> None:
    """Count the sections by what was found, and explain the two pictures."""
    number = {level: sum(card.level == level for card in cards) for level in ("ok", "warn", "fail")}
    sections = f"{len(cards)} section{'s' * (len(cards) != 1)}"
    text = f"{sections}: {number['ok']} ok, {number['warn']} to look at, {number['fail']} failed"
    y = _GAP_PX
    brush.text((_GAP_PX, y), text, fill=_BLACK, font=_font("large", bold=True))
    y += _TEXT_PX["large"] + _GAP_PX
    font = _font("text")
    left = "Left: spots on tissue in yellow, beside it in blue.  Right: counts of a spot, few "
    brush.text((_GAP_PX, y), left, fill=_GREY, font=font)
    start = _GAP_PX + int(font.getlength(left)) + 4
    bar = matplotlib.colormaps[_COLOURMAP](np.linspace(0, 1, 90))[None, :, :3] * 255
    strip = np.repeat(bar, _TEXT_PX["text"], axis=0).astype(np.uint8)
    sheet.paste(Image.fromarray(strip), (start, y + 1))
    brush.text((start + 96, y), "many.", fill=_GREY, font=font)
    y += round(_LINE * _TEXT_PX["text"])
    brush.text(
        (_GAP_PX, y), _shortened(note, font, sheet.width - 2 * _GAP_PX), fill=_GREY, font=font
    )


def _caption(brush: ImageDraw.ImageDraw, card: Card, x: int, y: int, width: int) -> None:
    title, text = _font("title", bold=True), _font("text")
    brush.text((x, y), _shortened(card.title, title, width), fill=_BLACK, font=title)
    y += round(_LINE * _TEXT_PX["title"])
    brush.text((x, y), _shortened(card.facts, text, width), fill=_GREY, font=text)
    bold = _font("text", bold=True)
    for line in _wrapped(card.verdict, bold, width, _VERDICT_LINES):
        y += round(_LINE * _TEXT_PX["text"])
        brush.text((x, y), line, fill=_INK[card.level], font=bold)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int, most: int) -> list[str]:
    """Break a text into at most so many lines; what is left over ends in an ellipsis."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if len(lines) == most or not lines[-1] or font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_shortened(line, font, width) for line in lines]


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    fits = bisect_right(
        range(len(text)), width, key=lambda length: math.ceil(font.getlength(text[:length] + "…"))
    )
    return text[: max(fits - 1, 0)].rstrip() + "…"
