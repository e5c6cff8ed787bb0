from __future__ import annotations

import sys

import numpy as np
import pytest

from hypergene.errors import SlideError, TissueError
from hypergene.slide import open_slide, plugin_tissue, tissue_plugins

MODULE = """
import numpy as np
from hypergene.errors import SlideError

def left(slide):
    probability = np.zeros((100, 120))
    probability[:, :60] = 0.9
    return probability

def wrong_shape(slide):
    return np.ones((100, 100), bool)

def no_mask(slide):
    return np.ones((100, 120, 3))

def breaks(slide):
    raise RuntimeError("no weights")

def damaged(slide):
    raise SlideError("slide.png is damaged.")
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package with entry points, as pip leaves one."""
    site = tmp_path / "site"
    about = site / "made_masks-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "made_masks.py").write_text(MODULE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: made-masks\nVersion: 1.0\n")
    names = ["left", "wrong_shape", "no_mask", "breaks", "damaged", "absent"]
    points = "".join(f"{name} = made_masks:{name}\n" for name in names)
    (about / "entry_points.txt").write_text(f"[hypergene.tissue]\n{points}")
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "made_masks", raising=False)


@pytest.fixture
def slide(save_png, painted):
    with open_slide(save_png(painted), mpp=2.0) as slide:
        yield slide


def test_an_installed_plugin_draws_the_mask(installed, slide):
    mask = plugin_tissue("left", slide)
    assert mask.source == "left" and mask.scale == (10.0, 10.0)
    assert mask.mask[:, :60].all() and not mask.mask[:, 60:].any()
    fraction = mask.fraction([(300, 500), (900, 500)], 100, slide.mpp)
    np.testing.assert_array_equal(fraction, [1, 0])


def test_plugins_are_known_by_name_without_being_imported(installed):
    assert {"left", "breaks"} <= set(tissue_plugins())
    assert "made_masks" not in sys.modules


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wrong_shape", "of the plugin wrong_shape is 100 x 100 px, but"),
        ("no_mask", r"returned no mask, but an array of float64 of shape \(100, 120, 3\)"),
        ("breaks", "RuntimeError: no weights"),
        ("absent", "AttributeError"),
    ],
)
def test_a_plugin_that_fails_is_named(installed, slide, name, said):
    with pytest.raises(TissueError, match=said) as caught:
        plugin_tissue(name, slide)
    assert name in caught.value.message


def test_what_the_slide_says_is_not_blamed_on_the_plugin(installed, slide):
    with pytest.raises(SlideError, match=r"slide\.png is damaged"):
        plugin_tissue("damaged", slide)
