"""Pieces of a mask: the memory-saving forms give what SciPy's and scikit-image's plain ones do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import filters

from hypergene.slide import pieces

SMALL = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)


@pytest.fixture(autouse=True, scope="module")
def several_strips():
    """The rows done at a time are few, so that small masks have several strips."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_ROWS", 3)
        yield


@given(mask=hnp.arrays(np.bool_, SMALL), smallest=st.integers(1, 8))
def test_large_pieces_are_those_of_enough_px(mask, smallest):
    labels, count = ndimage.label(mask)
    expected = np.zeros_like(mask)
    for label in range(1, count + 1):
        if (labels == label).sum() >= smallest:
            expected |= labels == label
    np.testing.assert_array_equal(pieces.large_pieces(mask, smallest), expected)


@given(grades=hnp.arrays(np.uint8, SMALL, elements=st.integers(0, 2)))
def test_pieces_holding_a_seed_are_those_of_a_hysteresis_threshold(grades):
    found = pieces.pieces_holding(grades > 0, grades == 2)
    expected = filters.apply_hysteresis_threshold(grades, 0.5, 1.5)
    np.testing.assert_array_equal(found, expected)
