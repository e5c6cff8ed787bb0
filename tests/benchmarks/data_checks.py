"""How well wrong data are told from right ones: the figures that the checks' thresholds rest on.

Three parts, on the HER2ST folder of the shared data: the orientation of the five sections with
images, of their wrong copies and of weaker data; the factor found between positions and reduced
images; and what tells copies of a section from other sections. About four minutes on one core.

    python tests/benchmarks/data_checks.py ../shared/data/her2st
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from PIL import Image
from scipy.interpolate import NearestNDInterpolator
from scipy.signal import fftconvolve

from hypergene.pipeline.checks import twins
from hypergene.pipeline.checks.haematoxylin import haematoxylin_under
from hypergene.pipeline.checks.orientation import (
    Orientation,
    judge,
    neighbours,
    weigh,
)
from hypergene.pipeline.checks.scale import Fit
from hypergene.pipeline.checks.symmetry import SYMMETRIES, Symmetry
from hypergene.slide import Slide, find_tissue, open_slide
from hypergene.st import Sample, read_sample, read_samples

MPP = 0.69
DIAMETER_UM = 100.0


@dataclass(frozen=True, eq=False)
class Section:
    """A section on its image, as the orientation check sees it; a crop is a frame inside it."""

    slide: Slide
    xy_px: Any
    counts: Any
    tissue: Any
    haematoxylin: Any
    corner_px: Any = (0.0, 0.0)
    size_px: Any = None

    @classmethod
    def of(cls, slide: Slide, adata: AnnData) -> Section:
        mask = find_tissue(slide)
        return cls(
            slide,
            adata.obsm["spatial"],
            adata.obs["total_counts"].to_numpy(np.float64),
            lambda xy: mask.fraction(xy, DIAMETER_UM, slide.mpp),
            haematoxylin_under(slide, DIAMETER_UM, "circle"),
            size_px=slide.dimensions,
        )

    def cropped(self, margin_px: float) -> Section:
        """Cut the image to a square about the spots, less or more a margin."""
        low = np.maximum(self.xy_px.min(axis=0) - margin_px, 0)
        side = (self.xy_px.max(axis=0) + margin_px - low).min()
        kept = ((self.xy_px >= low) & (self.xy_px < low + side)).all(axis=1)
        return replace(
            self, xy_px=self.xy_px[kept] - low, counts=self.counts[kept], corner_px=low,
            size_px=(side, side),
        )  # fmt: skip

    def subset(self, kept: Any) -> Section:
        return replace(self, xy_px=self.xy_px[kept], counts=self.counts[kept])

    def judged(self, xy_px: Any) -> Orientation:
        """Judge the section with these positions instead of its own."""

        def inside(look: Any) -> Any:
            def within(xy: Any) -> Any:
                on = ((xy >= 0) & (xy < self.size_px)).all(axis=1)
                return np.where(on, look(xy + self.corner_px), 0.0)

            return within

        evidence = weigh(
            xy_px, self.counts, self.size_px, near=neighbours(xy_px * MPP),
            tissue=inside(self.tissue), haematoxylin=inside(self.haematoxylin),
        )  # fmt: skip
        return judge("section", self.slide, evidence)

    def copy(self, symmetry: Symmetry, frame: str) -> Any:
        """Return wrong positions that `symmetry` puts right, in the image or about the array."""
        undone = {"rotated_90": "rotated_270", "rotated_270": "rotated_90"}.get(symmetry.name)
        inverse = next(one for one in SYMMETRIES if one.name == (undone or symmetry.name))
        size = self.size_px[::-1] if symmetry.swaps else self.size_px
        middle = (self.xy_px.min(axis=0) + self.xy_px.max(axis=0)) / 2
        shift = inverse.within(size) if frame == "image" else inverse.about(middle)
        return inverse.right(self.xy_px, shift)


def weaker(
    section: Section, name: str, all_counts: dict[str, AnnData], rng: np.random.Generator
) -> Iterator[tuple[str, Section]]:
    """Yield the section as it is and in harder conditions."""
    yield "as it is", section
    number = len(section.counts)
    for share in (0.6, 0.3, 0.15):
        for _ in range(5):
            yield f"{share:.0%} of the spots", section.subset(rng.random(number) < share)
    yield "image cut square to the spots", section.cropped(0)
    yield "image cut square inside the tissue", section.cropped(-600)
    yield (
        "mask: everything is tissue",
        replace(section, tissue=lambda xy: ((xy >= 0) & (xy < section.size_px)).all(axis=1) * 1.0),
    )
    yield "depth falls with haematoxylin", replace(section, counts=1e6 / section.counts)
    for share in (0.5, 1.0):
        for _ in range(5):
            counts = section.counts.copy()
            some = np.flatnonzero(rng.random(number) < share)
            counts[some] = counts[rng.permutation(some)]
            yield f"depth of {share:.0%} of the spots shuffled", replace(section, counts=counts)
    own = all_counts[name].obs[["array_col", "array_row"]].to_numpy(np.float64)
    for other, adata in all_counts.items():
        if other[0] == name[0]:
            continue
        places = adata.obs[["array_col", "array_row"]].to_numpy(np.float64)
        depth = NearestNDInterpolator(places - places.mean(axis=0), adata.obs["total_counts"])
        counts = np.asarray(depth(own - own.mean(axis=0)), np.float64)
        yield "depth of another patient's section", replace(section, counts=counts)


def orientation(samples: list[Sample], all_counts: dict[str, AnnData]) -> None:
    """Print scores of the true data, then detection and false alarms by condition."""
    rng = np.random.default_rng(0)
    rows, names = [], [symmetry.name for symmetry in SYMMETRIES]
    print("## Orientation: share of spots on tissue, correlation\n")
    print("| section | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
    for sample in samples:
        with open_slide(sample.slide or "", mpp=MPP) as slide:
            section = Section.of(slide, all_counts[sample.sample])
            found = section.judged(section.xy_px).evidence.values()
            cells = [f"{one.tissue_share:.2f}, {one.correlation:+.2f}" for one in found]
            print(f"| {sample.sample} | " + " | ".join(cells) + " |", flush=True)
            for condition, weak in weaker(section, sample.sample, all_counts, rng):
                for symmetry, frame in itertools.product(SYMMETRIES, ("image", "array")):
                    judged = weak.judged(weak.copy(symmetry, frame))
                    rows.append((condition, symmetry.name, frame, judged.best, judged.finding))
    table = pd.DataFrame(rows, columns=["condition", "true", "frame", "best", "finding"])
    print("\nShares of right data and of the 7 wrong copies, turned with the image or the array:\n")
    print("| condition | right | confirmed | called wrong | wrong | named | doubtful | misnamed |")
    print("|" + "---|" * 8)
    for condition, group in table.groupby("condition", sort=False):
        right = group[(group["true"] == "identity") & (group["frame"] == "image")]
        wrong = group[group["true"] != "identity"]
        named = (wrong["finding"] == "wrong") & (wrong["best"] == wrong["true"])
        misnamed = (wrong["finding"] == "wrong") & (wrong["best"] != wrong["true"])
        print(
            f"| {condition} | {len(right)} | {(right['finding'] == 'confirmed').mean():.0%} | "
            f"{right['finding'].isin(['wrong', 'doubtful']).mean():.0%} | {len(wrong)} | "
            f"{named.mean():.1%} | {(wrong['finding'] == 'doubtful').mean():.1%} | "
            f"{misnamed.mean():.1%} |"
        )


def reduced_images(samples: list[Sample], all_counts: dict[str, AnnData]) -> None:
    """Print the factor found over the true one, for images reduced to several sizes."""
    print("\n## Reduced images: factor found / true factor (share of spots on tissue)\n")
    sizes = (600, 1200, 2000, 4000)
    print("| section | " + " | ".join(f"{size} px" for size in sizes) + " |\n|---|---|---|---|---|")
    for sample in samples:
        adata = all_counts[sample.sample]
        counts = adata.obs["total_counts"].to_numpy(np.float64)
        cells = []
        with open_slide(sample.slide or "", mpp=MPP) as slide, tempfile.TemporaryDirectory() as out:
            for size in sizes:
                picture, factor = slide.thumbnail(size)
                Image.fromarray(picture).save(Path(out) / "small.png")
                with open_slide(Path(out) / "small.png", mpp=MPP) as small:
                    best = Fit(small, adata.obsm["spatial"], counts).best()
                cells.append(f"{best.factor / factor:.3f} ({best.on_tissue:.0%})")
        print(f"| {sample.sample} | " + " | ".join(cells) + " |", flush=True)


CHANGES: dict[str, dict[str, Any]] = {
    "the same counts, 70 % of the spots": {"spots": 0.7},
    "90 % of the genes": {"genes": 0.9},
    "thinned to 95 %": {"thinned": 0.95},
    "90 % genes, thinned, 70 % spots": {"genes": 0.9, "thinned": 0.95, "spots": 0.7},
    "the same, array turned": {"genes": 0.9, "thinned": 0.95, "spots": 0.7, "turn": 5},
    "the same, array unknown": {"genes": 0.9, "thinned": 0.95, "spots": 0.7, "array": False},
    "10 % of the genes": {"genes": 0.1},
    "50 % genes, thinned to 50 %, 50 % spots": {"genes": 0.5, "thinned": 0.5, "spots": 0.5},
}


def changed(
    adata: AnnData,
    rng: np.random.Generator,
    *,
    genes: float = 1.0,
    thinned: float = 1.0,
    spots: float = 1.0,
    turn: int = 0,
    array: bool = True,
) -> AnnData:
    """Copy a section as another processing would: other names, order, genes, counts and spots."""
    counts = adata.layers["counts"][:, rng.permutation(adata.n_vars)[: int(genes * adata.n_vars)]]
    counts.data = rng.binomial(counts.data, thinned).astype(np.int32)
    kept = np.flatnonzero(np.asarray(counts.sum(axis=1)).ravel() > 0)
    kept = rng.permutation(kept)[: int(spots * len(kept))]
    places = adata.obs[["array_col", "array_row"]].to_numpy() @ twins._TURNS[turn]
    places = places - places.min(axis=0) + rng.integers(0, 6, 2) if array else 0 * places - 1
    obs = pd.DataFrame(
        {
            "array_col": places[kept, 0],
            "array_row": places[kept, 1],
            "total_counts": np.asarray(counts[kept].sum(axis=1)).ravel(),
        },
        index=[f"spot{i}" for i in range(len(kept))],
    )
    var = pd.DataFrame(index=[f"ENSG{i:011}" for i in range(counts.shape[1])])
    return AnnData(
        obs=obs,
        var=var,
        layers={"counts": counts[kept]},
        obsm={"spatial": adata.obsm["spatial"][kept] * 0.37},
        uns={"hypergene": adata.uns["hypergene"] | {"pitch_px": 0.37 * _pitch_px(adata)}},
    )


def _pitch_px(adata: AnnData) -> float:
    return float(adata.uns["hypergene"]["pitch_px"])


def at_all_shifts(one: twins.Sketch, other: twins.Sketch) -> float:
    """Correlate ranks at every shift and symmetry with half of the spots in common; the highest."""

    def image(places: Any, rank: Any) -> Any:
        """Stack 1, rank and rank² on the array."""
        places = places - places.min(axis=0)
        layers = np.zeros((3, *(places.max(axis=0) + 1)))
        layers[(slice(None), *places.T)] = [np.ones(len(rank)), rank, rank**2]
        return layers

    best = -1.0
    fixed = image(one.places, one.rank.astype(np.float64))
    for turn in twins._TURNS:
        moved = image(other.places @ turn, other.rank.astype(np.float64))[:, ::-1, ::-1]
        n, y, yy, x, xx, xy = (
            fftconvolve(fixed[i], moved[j])
            for i, j in ((0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (1, 1))
        )
        kept = np.rint(n) >= max(24, min(len(one.places), len(other.places)) / 2)
        n, y, yy, x, xx, xy = (values[kept] for values in (n, y, yy, x, xx, xy))
        spread = np.sqrt(np.maximum((xx / n - (x / n) ** 2) * (yy / n - (y / n) ** 2), 1e-12))
        best = max(best, float(((xy / n - x * y / n**2) / spread).max(initial=-1.0)))
    return best


def same_tissue(all_counts: dict[str, AnnData]) -> None:
    """Print the statistic for real pairs and for changed copies, then what is found."""
    rng = np.random.default_rng(0)
    sketches = {name: twins.sketch(adata) for name, adata in all_counts.items()}
    start = time.perf_counter()
    found = twins.find_twins(sketches)
    seconds = time.perf_counter() - start
    pairs = len(sketches) * (len(sketches) - 1) // 2
    print(f"\n## Twins: {pairs} pairs in {seconds:.2f} s; called the same: {found}\n")
    threshold, twins.SAME_DEPTH = twins.SAME_DEPTH, -1.0
    print("| pairs | number | median | lowest | highest | found |\n|---|---|---|---|---|---|")
    for patients, same in (("two patients", False), ("one patient", True)):
        likeness = [
            at_all_shifts(sketches[one], sketches[other])
            for one, other in itertools.combinations(sketches, 2)
            if (one[0] == other[0]) == same
        ]
        _line(f"real, {patients}, best of all shifts", likeness, 0)
    for change, how in CHANGES.items():
        copies = {f"{name}'": changed(adata, rng, **how) for name, adata in all_counts.items()}
        both = sketches | {name: twins.sketch(copy) for name, copy in copies.items()}
        found = [
            twin for twin in twins.find_twins(both) if twin.samples[1] == f"{twin.samples[0]}'"
        ]
        likeness = [twin.likeness for twin in found]
        _line(change, likeness, sum(value >= threshold for value in likeness))
    twins.SAME_DEPTH = threshold
    kept = max(one.places.nbytes + one.rank.nbytes + one.prints.nbytes for one in sketches.values())
    print(f"\nThreshold {threshold}; the largest sketch has {kept / 1024:.0f} KB.")


def _line(name: str, likeness: list[float], found: int) -> None:
    median, low, high = np.median(likeness), min(likeness), max(likeness)
    print(f"| {name} | {len(likeness)} | {median:.3f} | {low:.3f} | {high:.3f} | {found} |")


def main() -> None:
    """Parse, read, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the HER2ST folder")
    data = parser.parse_args().data
    samples = [one for one in read_samples(data) if one.slide is not None]
    all_counts = {}
    for counts in sorted((data / "ST-cnts").glob("*.tsv.gz")):
        name = counts.name.split(".")[0]
        all_counts[name] = read_sample(Sample(name, name[0], None, counts, "her2st", None, name))
    orientation(samples, all_counts)
    reduced_images(samples, all_counts)
    same_tissue(all_counts)


if __name__ == "__main__":
    main()
