"""Does the flag notice what it ought to? Altered and foreign slides against untouched ones.

Predicts a section that the model was not trained on, as it is and altered, and another slide, and
prints the share of flagged spots, the card's verdict, and how well ``ood_score`` tells altered
spots from untouched ones (AUROC; 0.5 = not at all). Altered slides are written to a temporary
folder and never kept.

    python tests/benchmarks/ood_flag.py runs/held-out/B4-seed0/model SLIDE --mpp 0.69 \
        --other CMU-1-Small-Region.svs
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from anndata import AnnData
from PIL import Image, ImageFilter
from sklearn.metrics import roc_auc_score

from hypergene.pipeline.predict import predict
from hypergene.pipeline.slide_card import FAR

Image.MAX_IMAGE_PIXELS = None
BLUR_UM = 4.0
# Optical density of haematoxylin, eosin and DAB per channel (Ruifrok and Johnston 2001).
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
STRIP = 512


def as_ihc(image: Image.Image) -> Image.Image:
    """Turn eosin brown, as DAB is."""
    pixels = np.array(image)
    unit = STAINS / np.linalg.norm(STAINS, axis=1, keepdims=True)
    swapped = unit.copy()
    swapped[1] = unit[2]
    change = np.linalg.inv(unit) @ swapped
    for top in range(0, len(pixels), STRIP):
        density = -np.log((pixels[top : top + STRIP].astype(np.float32) + 1) / 256)
        recoloured = 256 * np.exp(-(density @ change)) - 1
        pixels[top : top + STRIP] = recoloured.clip(0, 255)
    return Image.fromarray(pixels)


def altered(image: Image.Image, mpp: float, folder: Path) -> dict[str, tuple[Path, float]]:
    """Write each alteration; name -> file and the resolution it is said to have."""
    makers: dict[str, Callable[[], Image.Image]] = {
        "IHC-like recolouring": lambda: as_ihc(image),
        f"blur, sigma {BLUR_UM:g} µm": lambda: image.filter(
            ImageFilter.GaussianBlur(BLUR_UM / mpp)
        ),
    }
    files: dict[str, tuple[Path, float]] = {}
    for number, (name, make) in enumerate(makers.items()):
        path = folder / f"{number}.jpg"
        make().save(path, quality=95)
        files[name] = path, mpp
    rough = folder / "rough.jpg"
    image.save(rough, quality=10)
    files["JPEG quality 10"] = rough, mpp
    return files


def main() -> None:
    """Parse, predict, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="trained without the slide")
    parser.add_argument("slide", type=Path)
    parser.add_argument("--mpp", type=float, required=True)
    parser.add_argument("--other", type=Path, help="a slide of other tissue")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    def ask(slide: Path, mpp: float | None) -> AnnData:
        return predict(
            slide, model=arguments.model, mpp=mpp, genes=("ACTB",), device=arguments.device
        )

    with tempfile.TemporaryDirectory() as temporary, Image.open(arguments.slide) as opened:
        image = opened.convert("RGB")
        files = {
            "untouched": (arguments.slide, arguments.mpp),
            **altered(image, arguments.mpp, Path(temporary)),
            "mpp said to be half": (arguments.slide, arguments.mpp / 2),
            "mpp said to be double": (arguments.slide, arguments.mpp * 2),
        }
        image.close()
        print(
            "| slide | spots | flagged | median ood_score | AUROC | dyes, degrees "
            "| fine structure | verdict |"
        )
        print("|---|---|---|---|---|---|---|---|", flush=True)
        base: np.ndarray | None = None
        cases: dict[str, tuple[Path, float | None]] = dict(files)
        if arguments.other is not None:
            cases[f"other tissue: {arguments.other.name}"] = arguments.other, None
        for name, (path, mpp) in cases.items():
            found = ask(path, mpp)
            score = found.obs["ood_score"].to_numpy()
            base = score if base is None else base
            truth = np.repeat([0, 1], [len(base), len(score)])
            auroc = roc_auc_score(truth, np.concatenate([base, score]))
            card = found.uns["hypergene"]["card"]
            print(
                f"| {name} | {len(score):,} | {(score >= FAR).mean():.0%} | {np.median(score):.2f} "
                f"| {auroc:.3f} | {card['stain_degrees']:.0f} "
                f"| {card['fine_structure']:+.1f} ({card['fine_structure_limit']:.2f}) "
                f"| {card['verdict']} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
