"""The tissue mask that is found, against ST data, drawn outlines and drawn pens.

    python tests/benchmarks/tissue_mask.py --data ../shared/data

The outlines were drawn by eye on pictures of the slides with the contour found in view, which
biases IoU and glass upwards; they are coarse (some 20 µm off), and include the narrow gaps within
a tissue.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hypergene.slide import Slide, TissueMask, find_tissue, open_slide
from hypergene.slide.polygons import Polygon, paint_polygons
from hypergene.slide.tissue import mask_size
from hypergene.spots import lay_spots, layout_named

SVS = "CMU-1-Small-Region"
ST_MPP, SPOT_UM, LEAST = 0.69, 100.0, 0.25
PENS = {"black": (35, 35, 38), "green": (30, 140, 70), "blue": (35, 65, 175), "red": (205, 30, 45)}

#: Width in px of the picture an outline was drawn on; its corners x y, ...; a hole.
OUTLINES: dict[str, tuple[int, str, str]] = {
    "B4": (1064, "235 374,262 385,325 412,385 437,440 465,500 505,560 535,612 575,628 600,643 630,"
        "655 586,690 600,760 645,822 662,840 690,832 715,865 765,895 820,890 850,942 932,900 942,"
        "830 950,700 960,600 963,565 960,555 940,535 938,520 968,470 972,405 978,390 985,300 995,"
        "250 1010,180 1030,135 1037,150 965,155 840,140 770,142 650,138 580,160 545,175 490,"
        "190 430,205 390", "597 680,605 660,625 662,627 690,610 708"),
    "C3": (1064, "708 115,718 140,720 230,735 350,740 380,750 440,760 518,745 535,700 560,660 580,"
        "625 597,575 628,518 657,480 640,420 600,330 540,270 510,200 455,160 420,110 385,70 350,"
        "85 343,150 320,215 295,300 270,400 235,500 195,560 175,640 145,690 130", ""),
    "C4": (1064, "670 207,675 245,690 275,705 340,722 420,742 495,768 582,730 605,690 640,650 670,"
        "610 705,565 735,570 750,545 755,500 735,440 708,350 660,290 615,230 598,190 590,160 570,"
        "100 545,55 515,52 510,100 485,190 440,290 390,400 335,480 285,560 245,630 218", ""),
    "C5": (1064, "652 150,662 190,680 245,700 325,720 400,740 460,757 515,735 515,700 530,690 565,"
        "650 600,615 635,595 655,560 675,540 690,520 688,450 660,360 620,280 582,220 560,150 528,"
        "130 510,100 490,45 463,80 445,150 405,250 355,350 295,440 245,520 200,590 165", ""),
    "C6": (1064, "575 262,585 300,600 340,625 395,645 445,660 490,680 535,708 600,690 612,655 625,"
        "640 645,645 660,637 688,600 715,585 745,565 768,535 785,528 800,515 812,430 790,340 762,"
        "270 740,200 722,130 703,95 685,50 670,0 660,0 638,50 605,110 565,180 520,210 490,260 465,"
        "330 425,390 380,470 325,530 275", ""),
    SVS: (898, "430 30,470 45,535 90,540 130,580 150,600 190,625 215,640 250,652 300,655 360,"
        "690 400,700 440,725 450,755 470,775 520,800 535,765 570,730 580,690 620,640 660,600 720,"
        "640 740,690 735,755 750,755 800,740 830,755 890,740 960,755 990,745 1010,715 1040,"
        "712 1100,690 1140,688 1199,210 1199,205 1095,240 1040,240 1000,290 940,300 830,330 720,"
        "340 640,318 615,345 590,355 480,330 440,270 430,180 440,100 462,30 462,90 450,160 420,"
        "230 410,300 425,345 438,370 380,375 300,390 230,340 205,375 190,385 150,360 100,320 95,"
        "325 75,365 70,395 60", "470 230,480 150,540 160,590 200,580 240,560 290,545 300,520 250"),
}  # fmt: skip


def drawn_mask(slide: Slide, name: str) -> TissueMask:
    """The outline of a slide as a mask of the size of the one that is found."""
    width, *texts = OUTLINES[name]
    rings = [
        np.array([corner.split() for corner in text.split(",")], float)
        * (slide.dimensions[0] / width)
        for text in texts
        if text
    ]
    size, scale = mask_size(slide)
    mask = paint_polygons([Polygon("", tuple(rings))], size, scale, Path(__file__))
    return TissueMask(mask, scale, "drawn")


def st_spots(table: Path) -> tuple[np.ndarray, np.ndarray]:
    """Spots under tissue, and all places of the array that they lie on, both in px."""
    with table.open() as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["selected"] == "1"]
    at = np.array([(float(row["x"]), float(row["y"]), 1.0) for row in rows])
    xy = np.array([(float(row["pixel_x"]), float(row["pixel_y"])) for row in rows])
    affine, *_ = np.linalg.lstsq(at, xy, rcond=None)
    places = np.stack([*np.meshgrid(np.arange(1, 34), np.arange(1, 36)), np.ones((35, 33))], -1)
    return xy, places.reshape(-1, 3) @ affine


def compare(slide: Slide, name: str, data: Path) -> str:
    """One line of the table."""
    found, drawn = find_tissue(slide), drawn_mask(slide, name)
    overlap = (found.mask & drawn.mask).sum() / (found.mask | drawn.mask).sum()
    mpp = (slide.mpp.x, slide.mpp.y)
    if name == SVS:
        layout = layout_named("visium")
        diameter, places = layout.diameter_um, lay_spots(layout, slide.dimensions, mpp).xy_px
        under = places[drawn.fraction(places, diameter, slide.mpp) >= 0.5]
    else:
        table = data / "her2st" / "ST-spotfiles" / f"{name}_selection.tsv"
        diameter, (under, places) = SPOT_UM, st_spots(table)
        places = places[((places > 0) & (places < slide.dimensions)).all(axis=1)]
    glass = places[drawn.fraction(places, diameter, slide.mpp) == 0]
    apart = np.hypot(*(glass[:, None] - under).transpose(2, 0, 1)).min(axis=1) * mpp[0]
    glass = glass[apart > diameter]
    kept = found.fraction(under, diameter, slide.mpp) >= LEAST
    rejected = found.fraction(glass, diameter, slide.mpp) < LEAST
    return (
        f"| {name} | {kept.sum():,} of {len(kept):,} ({kept.mean():.1%}) | {rejected.sum():,} of "
        f"{len(rejected):,} ({rejected.mean():.1%}) | {overlap:.3f} |"
    )


def with_pen(slide: Slide, pen: str, folder: Path) -> str:
    """One line of the table of pens: a stroke of 0.2 mm along the glass and a loop on the tissue.

    Drawn at 4 µm/px as ink lets light through, with the grain of a marker.
    """
    (width, height), _ = mask_size(slide, 4.0)
    pixels = slide.overview(width, height)
    sheet = Image.new("L", (width, height))
    brush = ImageDraw.Draw(sheet)
    stroke_px = 50
    brush.line([(width // 20, height * 0.97), (width * 0.9, height * 0.93)], 255, stroke_px)
    loop = (0.35 * width, 0.35 * height, 0.95 * width, 0.85 * height)
    brush.ellipse(loop, outline=255, width=stroke_px)
    stroke = np.asarray(sheet) / 255
    grain = np.random.default_rng(0).uniform(0.85, 1.0, stroke.shape)
    through = ((np.array(PENS[pen]) + 1) / 256) ** (stroke * grain)[..., None]
    clean = find_tissue(slide)
    Image.fromarray(np.rint(pixels * through).astype(np.uint8)).save(folder / "pen.png")
    with open_slide(folder / "pen.png", mpp=4.0) as marked:
        found = find_tissue(marked).mask
    small = np.asarray(Image.fromarray(clean.mask).resize(found.shape[::-1]))
    ink = np.asarray(Image.fromarray(stroke > 0.5).resize(found.shape[::-1]))
    away = ~np.asarray(sheet.resize(found.shape[::-1])).astype(bool)
    return (
        f"{(found & ink & ~small).sum() / (ink & ~small).sum():.1%} | "
        f"{(found & ink & small).sum() / max(1, (ink & small).sum()):.0%} | "
        f"{(found & small & away).sum() / (small & away).sum():.1%} |"
    )


def main() -> None:
    """Parse the command line and print both tables; rows of the second begin with pen:."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--slides", nargs="*", choices=list(OUTLINES), default=list(OUTLINES))
    options = parser.parse_args()
    images = {path.parent.name: path for path in options.data.glob("her2st/ST-imgs/*/*/*.jpg")}
    images[SVS] = options.data / "slides" / f"{SVS}.svs"
    print("| slide | under tissue, kept | on glass, rejected | IoU |")
    print("pen: | slide | pen | ink on glass, kept | ink on tissue, kept | other tissue, kept |")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.slides:
            with open_slide(images[name], mpp=None if name == SVS else ST_MPP) as slide:
                print(compare(slide, name, options.data), flush=True)
                for pen in () if name == SVS else PENS:
                    print(
                        f"pen: | {name} | {pen} | {with_pen(slide, pen, Path(folder))}", flush=True
                    )


if __name__ == "__main__":
    main()
