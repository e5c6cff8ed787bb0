from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from PIL import Image

from hypergene.report.quality_map import draw_quality, save_quality_map

VERMILION = np.array([0xD5, 0x5E, 0x00])


@pytest.fixture
def measured() -> AnnData:
    """Four squares of 40 px on a slide of 400 x 200 px, one under ink and one unreadable."""
    obs = pd.DataFrame(
        {
            "focus": [1.0, 50.0, 100.0, np.nan],
            "pen": [False, True, False, False],
            "saturation": [0.1, 0.2, 0.3, np.nan],
            "brightness": [0.9, 0.5, 0.2, np.nan],
        },
        index=list("abcd"),
    )
    adata = AnnData(obs=obs, obsm={"spatial": np.array([(50.0 + 100 * i, 100) for i in range(4)])})
    adata.uns["spatial"] = {
        "slide": {
            "images": {"hires": np.full((100, 200, 3), 240, np.uint8)},
            "scalefactors": {"tissue_hires_scalef": 0.5, "spot_diameter_fullres": 40.0},
        }
    }
    adata.uns["hypergene"] = {"layout": {"shape": "square"}}
    return adata


def test_every_column_has_a_panel_with_its_units(measured: AnnData) -> None:
    titles = {axes.get_title() for axes in draw_quality(measured).axes}
    assert titles >= {
        "focus, grey levels² at 1 µm/px",
        "pen: ink over 1 of 4 spots",
        "saturation, 0 to 1",
        "brightness, 0 to 1",
    }


def test_a_spot_is_drawn_at_its_place_in_its_size(measured: AnnData) -> None:
    figure = draw_quality(measured)
    (pen,) = [axes for axes in figure.axes if axes.get_title().startswith("pen")]
    (drawn,) = pen.collections
    (path,) = drawn.get_paths()
    # 40 level-0 px around (150, 100), on a picture of half the size.
    np.testing.assert_allclose(path.get_extents().get_points(), [[65, 40], [85, 60]])


def test_ink_is_seen_in_the_picture(measured: AnnData, tmp_path: Path) -> None:
    save_quality_map(measured, tmp_path / "draft.tmp")
    with Image.open(tmp_path / "draft.tmp") as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (np.abs(pixels - VERMILION).max(axis=-1) < 8).mean() > 0.002
    measured.obs["pen"] = False
    save_quality_map(measured, tmp_path / "draft.tmp")
    with Image.open(tmp_path / "draft.tmp") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert not (np.abs(pixels - VERMILION).max(axis=-1) < 8).any()
