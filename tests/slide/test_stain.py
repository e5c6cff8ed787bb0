"""Dyes of known colour are found again."""

from __future__ import annotations

import numpy as np
import pytest

from hypergene.slide import find_tissue, open_slide
from hypergene.slide.stain import stain_vectors, vectors_of

HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.07, 0.99, 0.11])


def dyed(first: np.ndarray, second: np.ndarray, seed: int = 0) -> np.ndarray:
    """Pixels (n, 3) of two dyes, each from none to much."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0, 1, (20_000, 1))
    much = rng.uniform(0.5, 1.5, (20_000, 1))
    density = much * (share * first + (1 - share) * second)
    return (256 * np.exp(-density) - 1).clip(0, 255).astype(np.uint8)


def degrees(one: np.ndarray, other: np.ndarray) -> float:
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def test_two_dyes_are_found_and_haematoxylin_comes_first() -> None:
    first, second = np.array([0.65, 0.70, 0.29]), np.array([0.30, 0.90, 0.35])
    for pixels in (dyed(first, second), dyed(second, first)):
        found = vectors_of(pixels)
        assert found is not None
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
        assert degrees(found[0], first) < 3
        assert degrees(found[1], second) < 3


def test_another_dye_is_far_from_eosin() -> None:
    brown = vectors_of(dyed(HAEMATOXYLIN, np.array([0.27, 0.57, 0.78])))
    pink = vectors_of(dyed(HAEMATOXYLIN, np.array([0.20, 0.90, 0.35])))
    assert brown is not None and pink is not None
    assert min(degrees(brown[k], pink[1]) for k in (0, 1)) > 15


def test_glass_has_no_dyes() -> None:
    assert vectors_of(np.full((1000, 3), 250, np.uint8)) is None
    assert vectors_of(np.empty((0, 3), np.uint8)) is None


def test_a_slide_is_read_under_its_tissue(painted_slide) -> None:
    with open_slide(painted_slide) as slide:
        found = stain_vectors(slide, find_tissue(slide))
    assert found is not None
    assert found[0, 0] > found[1, 0]
    assert found.shape == (2, 3) and np.isfinite(found).all()


@pytest.mark.parametrize("seed", [1, 2])
def test_the_sample_does_not_matter(seed: int) -> None:
    second = np.array([0.30, 0.90, 0.35])
    one, other = (
        vectors_of(dyed(HAEMATOXYLIN, second)),
        vectors_of(dyed(HAEMATOXYLIN, second, seed)),
    )
    assert one is not None and other is not None
    assert max(degrees(one[k], other[k]) for k in (0, 1)) < 1
