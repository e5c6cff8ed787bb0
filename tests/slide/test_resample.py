from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hypergene.slide.resample import needed, resample

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@given(
    left=st.integers(0, 20),
    top=st.integers(0, 15),
    beside=st.tuples(*[st.floats(-2e-3, 2e-3)] * 4),
)
def test_on_the_pixels_of_the_level_the_filter_changes_nothing(left, top, beside):
    width, height = 24, 20
    box = tuple(np.clip(np.add((left, top, left + width, top + height), beside), 0, (50, 40) * 2))
    filtered = Image.fromarray(PICTURE).resize((width, height), Image.Resampling.BILINEAR, box=box)
    np.testing.assert_array_equal(resample(PICTURE, box, (width, height)), np.asarray(filtered))


def test_on_the_pixels_of_the_level_no_margin_is_read():
    assert needed((10, 20, 34, 40), (24, 20), (500, 500)) == (10, 20, 34, 40)
    assert needed((10.2, 20, 34.2, 40), (24, 20), (500, 500)) == (8, 18, 37, 42)
    assert needed((-3, 490, 21, 510), (24, 20), (500, 500)) == (-3, 490, 21, 510)


def test_a_box_of_another_size_is_not_on_the_pixels():
    assert resample(PICTURE, (0, 0, 25, 20), (24, 20)).shape == (20, 24, 3)
    assert resample(PICTURE, (0, 0, 24, 20), (12, 10)).shape == (10, 12, 3)
