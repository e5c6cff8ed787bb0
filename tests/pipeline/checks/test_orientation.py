"""Positions turned, mirrored or swapped on a picture are named; what says nothing is left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from layouts.made import MPP, made_section
from PIL import Image
from scipy.ndimage import gaussian_filter

from hypergene.pipeline.checks.orientation import Orientation, check_orientation
from hypergene.pipeline.checks.symmetry import IDENTITY, SYMMETRIES, Symmetry
from hypergene.slide import find_tissue, open_slide
from hypergene.st import read_sample, read_samples

WRONG = [symmetry for symmetry in SYMMETRIES if symmetry is not IDENTITY]
# What happens to a picture when the positions on it are kept: by numpy, not by what is tested.
TURNED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda picture: picture,
    "swapped_axes": lambda picture: picture.swapaxes(0, 1),
    "flipped_x": np.fliplr,
    "flipped_y": np.flipud,
    "rotated_90": lambda picture: np.rot90(picture, -1),  # clockwise
    "rotated_180": lambda picture: np.rot90(picture, 2),
    "rotated_270": lambda picture: np.rot90(picture, 1),
    "anti_transposed": lambda picture: np.rot90(picture.swapaxes(0, 1), 2),
}


def canonical(xy_px: np.ndarray, counts: np.ndarray) -> AnnData:
    obs = pd.DataFrame({"total_counts": counts}, index=[f"s{i}" for i in range(len(counts))])
    return AnnData(obs=obs, obsm={"spatial": np.asarray(xy_px, np.float64)})


def check(path: Path, mpp: float, adata: AnnData, diameter_um: float) -> Orientation:
    with open_slide(path, mpp=mpp) as slide:
        return check_orientation("A1", slide, find_tissue(slide), adata, diameter_um, "circle")


class Section:
    """Tissue in one part of a wide picture, darker in places, and spots on it 100 µm apart."""

    mpp = 4.0

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(3)
        purple = gaussian_filter(rng.normal(size=(500, 640)), 14)
        self.purple = (purple - purple.min()) / np.ptp(purple)
        tissue = np.zeros(purple.shape, bool)
        tissue[40:400, 30:330] = True
        tissue[40:200, 330:500] = True
        dye = np.array([225.0, 150.0, 190.0]) - self.purple[..., None] * [105.0, 80.0, 40.0]
        self.picture = np.where(tissue[..., None], dye, 243.0) + rng.normal(0, 3, dye.shape)
        self.path = folder / "section.png"
        Image.fromarray(self.picture.clip(0, 255).astype(np.uint8)).save(self.path)
        x, y = np.meshgrid(np.arange(45, 490, 25), np.arange(55, 390, 25))
        on = tissue[y, x]
        self.xy_px = np.column_stack([x[on], y[on]]).astype(np.float64)
        rate = 3000 * np.exp(2 * self.purple[y[on], x[on]] + rng.normal(0, 0.2, on.sum()))
        self.counts = rng.poisson(rate).astype(np.float64)

    def positions(self, name: str) -> np.ndarray:
        """Return where the spots are on the picture turned as `name` says."""
        index = np.arange(self.purple.size).reshape(self.purple.shape)
        turned = TURNED[name](index)
        place = np.empty((index.size, 2))
        row, column = np.indices(turned.shape)
        place[turned.ravel()] = np.column_stack([column.ravel(), row.ravel()])
        x, y = self.xy_px.astype(int).T
        return place[index[y, x]]


@pytest.fixture(scope="module")
def section(tmp_path_factory: pytest.TempPathFactory) -> Section:
    return Section(tmp_path_factory.mktemp("section"))


@pytest.mark.parametrize("symmetry", WRONG, ids=lambda symmetry: symmetry.name)
def test_positions_of_a_turned_picture_are_named_after_the_turn(section, symmetry: Symmetry):
    wrong = section.positions(symmetry.name)
    found = check(section.path, section.mpp, canonical(wrong, section.counts), 55)
    assert (found.finding, found.best) == ("wrong", symmetry.name)
    (verdict,) = found.verdicts
    assert (verdict.level, verdict.code, verdict.samples) == ("fail", symmetry.name, ("A1",))
    assert str(section.path) in verdict.message
    assert found.scores[symmetry.name] > found.scores["identity"] + 0.3
    # Doing what the fix says brings the spots back.
    width, height = section.purple.shape[::-1]
    fixed = symmetry.right(wrong, symmetry.within((width, height)))
    assert np.abs(fixed - section.xy_px).max() <= 1
    told = {"pixel_x": wrong[:, 0], "pixel_y": wrong[:, 1]}
    if symmetry.name == "swapped_axes":
        assert verdict.fix.startswith("pixel_x and pixel_y are swapped")
        return
    assignments = verdict.fix.removeprefix("Take ").split(", or ")[0].split(", ")
    for axis, assignment in zip((0, 1), assignments, strict=True):
        value = eval(assignment.split(" = ")[1], {}, told)
        assert np.abs(value - section.xy_px[:, axis]).max() <= 2


def test_positions_as_they_should_be_are_confirmed(section):
    found = check(section.path, section.mpp, canonical(section.xy_px, section.counts), 55)
    assert (found.finding, found.best, found.verdicts) == ("confirmed", "identity", [])
    assert found.tissue_share["identity"] == pytest.approx(1, abs=0.05)
    assert list(found.scores) == [symmetry.name for symmetry in SYMMETRIES]


@pytest.mark.parametrize("symmetry", WRONG, ids=lambda symmetry: symmetry.name)
def test_an_array_turned_about_its_own_middle_is_named(section, symmetry: Symmetry):
    middle = (section.xy_px.min(axis=0) + section.xy_px.max(axis=0)) / 2
    undone = {"rotated_90": "rotated_270", "rotated_270": "rotated_90"}.get(symmetry.name)
    inverse = next(one for one in SYMMETRIES if one.name == (undone or symmetry.name))
    wrong = inverse.right(section.xy_px, inverse.about(middle))
    found = check(section.path, section.mpp, canonical(wrong, section.counts), 55)
    assert (found.finding, found.best) == ("wrong", symmetry.name)


@pytest.mark.parametrize("symmetry", SYMMETRIES, ids=lambda symmetry: symmetry.name)
def test_depth_that_means_nothing_never_makes_positions_wrong(section, symmetry: Symmetry):
    counts = np.random.default_rng(0).permutation(section.counts)
    found = check(
        section.path, section.mpp, canonical(section.positions(symmetry.name), counts), 55
    )
    assert found.finding in ("unclear", "doubtful")
    assert all(verdict.level == "warn" for verdict in found.verdicts)
    if symmetry is IDENTITY:
        assert found.finding == "unclear"
        assert found.sentence.startswith("not enough evidence")


def test_tissue_alone_raises_a_doubt_where_it_leaves_no_other_way(section):
    depthless = canonical(section.positions("flipped_x"), np.full(len(section.counts), 500.0))
    found = check(section.path, section.mpp, depthless, 55)
    assert found.tissue_share["identity"] < 0.5 < 0.9 < found.tissue_share["flipped_x"]
    (verdict,) = found.verdicts
    assert (verdict.level, verdict.code) == ("warn", "flipped_x")
    assert "contact sheet" in verdict.fix


def test_depth_that_falls_with_haematoxylin_is_not_wrong(section):
    found = check(section.path, section.mpp, canonical(section.xy_px, 1e7 / section.counts), 55)
    assert found.evidence["identity"].correlation < -0.4
    assert found.verdicts == []


def test_spots_outside_the_image_are_not_on_tissue(section):
    outside = canonical(section.xy_px + np.array([640, 0]), section.counts)
    found = check(section.path, section.mpp, outside, 55)
    assert found.tissue_share["identity"] == 0
    few = canonical(section.xy_px * 100, section.counts)
    found = check(section.path, section.mpp, few, 55)
    assert max(found.tissue_share.values()) < 0.1
    assert (found.finding, found.verdicts) == ("unclear", [])


def test_bins_are_pooled_so_that_their_noise_does_not_matter(section):
    """8 µm bins with one count in ten, 1 bin in 5 px."""
    x, y = np.meshgrid(np.arange(32, 500, 4), np.arange(42, 400, 4))
    x, y = x.ravel(), y.ravel()
    on = section.picture[y, x].min(axis=1) < 215
    x, y = x[on], y[on]
    counts = np.random.default_rng(0).poisson(4 * np.exp(2 * section.purple[y, x])) + 1.0
    flipped = np.column_stack([x, section.purple.shape[0] - y])
    found = check(section.path, section.mpp, canonical(flipped, counts), 8)
    assert (found.finding, found.best) == ("wrong", "flipped_y")
    assert found.evidence["flipped_y"].spots < 400


@pytest.mark.parametrize("seed", [0, 1])
def test_thirty_spots_are_not_enough_evidence(tmp_path: Path, seed: int):
    made = made_section(seed=seed)
    x, y = np.meshgrid(np.linspace(60, 340, 6), np.linspace(60, 300, 5))
    xy_px = np.column_stack([x.ravel(), y.ravel()])
    counts = np.asarray(made.draw(xy_px).sum(axis=1), np.float64).ravel()
    path = made.save_picture(tmp_path)
    for symmetry in SYMMETRIES:
        wrong = symmetry.right(xy_px, symmetry.within((400, 360)))
        found = check(path, MPP, canonical(wrong, counts), 100)
        assert found.finding in ("unclear", "doubtful")
        if symmetry is IDENTITY:
            assert found.verdicts == []


def test_wrong_copies_of_a_real_section_are_named(shared_data: Path):
    name = "C5"  # the one whose depth follows haematoxylin least
    sample = next(one for one in read_samples(shared_data / "her2st") if one.sample == name)
    adata = read_sample(sample)
    with open_slide(sample.slide, mpp=0.69) as slide:
        mask = find_tissue(slide)
        _, height = slide.dimensions
        true = adata.obsm["spatial"]
        found = check_orientation(name, slide, mask, adata, 100, "circle")
        assert (found.finding, found.verdicts) == ("confirmed", [])
        copies = {
            "swapped_axes": true[:, ::-1],
            "rotated_90": np.column_stack([height - true[:, 1], true[:, 0]]),
        }
        for code, wrong in copies.items():
            adata.obsm["spatial"] = np.ascontiguousarray(wrong)
            found = check_orientation(name, slide, mask, adata, 100, "circle")
            assert [verdict.code for verdict in found.verdicts] == [code]


points = st.lists(st.tuples(st.integers(0, 999), st.integers(0, 999)), min_size=1, max_size=9)


@given(points=points, width=st.integers(1, 1000), height=st.integers(1, 1000))
def test_symmetries_are_eight_ways_of_keeping_distances(points, width: int, height: int):
    xy = np.array(points, np.float64) * [width, height] / 1000
    middle = xy.mean(axis=0)
    ways = set()
    for symmetry in SYMMETRIES:
        frame = (height, width) if symmetry.swaps else (width, height)
        image = symmetry.right(xy, symmetry.within(frame))
        assert ((image >= 0) & (image <= frame)).all()
        assert np.ptp(image, axis=0) == pytest.approx(
            np.ptp(xy, axis=0)[:: -1 if symmetry.swaps else 1]
        )
        about = symmetry.right(xy, symmetry.about(middle))
        assert about.mean(axis=0) == pytest.approx(middle, abs=1e-6)
        corner = symmetry.right(np.array([[1.0, 2.0]]), (0, 0))[0]
        ways.add(tuple(corner))
    assert len(ways) == 8
