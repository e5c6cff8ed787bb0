from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from matplotlib.collections import Collection, EllipseCollection, PolyCollection
from matplotlib.figure import Figure
from PIL import Image

from hypergene.report.panels import draw_panels, gene_panel
from hypergene.report.spot_axes import SpotAxes

GREEN = (10, 200, 30)


@pytest.fixture
def adata() -> AnnData:
    """36 spots on a lattice of 200 px, three genes; its slide is green, as no colour map is."""
    rows, columns = (axis.ravel() for axis in np.mgrid[:6, :6])
    expression = np.column_stack([rows, columns, np.full(36, 2.0)]).astype(np.float32)
    made = AnnData(expression, var=pd.DataFrame(index=["ERBB2", "KRT5", "FLAT"]))
    made.obsm["spatial"] = np.column_stack([columns, rows]) * 200.0 + 500
    made.uns["spatial"] = {
        "slide": {
            "images": {"hires": np.full((200, 200, 3), GREEN, dtype=np.uint8)},
            "scalefactors": {"tissue_hires_scalef": 0.1, "spot_diameter_fullres": 100.0},
        }
    }
    made.uns["hypergene"] = {
        "units": "log1p CP10k",
        "mpp": {"x": 0.5, "y": 0.5, "source": "test"},
        "layout": {"shape": "circle"},
    }
    return made


def draw(adata: AnnData, genes: list[str], *, background: bool = False) -> Figure:
    spots = SpotAxes.of(adata, background=background)
    panels = [gene_panel(adata, spots, gene) for gene in genes]
    return draw_panels(panels, tallness=spots.tallness, title=None)


def pixels(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    return np.asarray(Image.open(buffer).convert("RGB")).astype(int)


def share_of_green(figure: Figure) -> float:
    """Share of px in the colour of the slide, which is drawn pale."""
    pale = 255 - 0.55 * (255 - np.array(GREEN))
    return float((np.abs(pixels(figure) - pale).max(axis=-1) < 12).mean())


def spots_of(figure: Figure, panel: int) -> Collection:
    (spots,) = figure.axes[panel].collections
    return spots


def test_without_a_background_no_pixel_of_the_slide_is_shown(adata: AnnData) -> None:
    assert share_of_green(draw(adata, ["ERBB2"], background=False)) == 0
    assert share_of_green(draw(adata, ["ERBB2"], background=True)) > 0.1


def test_each_gene_has_its_panel_its_values_and_a_bar_with_the_units(adata: AnnData) -> None:
    figure = draw(adata, ["KRT5", "ERBB2"])
    assert [axes.get_title() for axes in figure.axes[:2]] == ["KRT5", "ERBB2"]
    assert np.array_equal(spots_of(figure, 0).get_array(), adata.X[:, 1])
    assert np.array_equal(spots_of(figure, 1).get_array(), adata.X[:, 0])
    assert [axes.get_ylabel() for axes in figure.axes[2:]] == ["predicted log1p CP10k"] * 2


def test_spots_are_drawn_in_their_size_at_their_place(adata: AnnData) -> None:
    figure = draw(adata, ["ERBB2"])
    spots = spots_of(figure, 0)
    assert isinstance(spots, EllipseCollection)
    assert np.array_equal(spots.get_offsets(), adata.obsm["spatial"])
    assert (spots.get_widths(), spots.get_heights()) == (pytest.approx(100), pytest.approx(100))
    assert spots.get_offset_transform() == figure.axes[0].transData
    left, right = figure.axes[0].get_xlim()
    bottom, top = figure.axes[0].get_ylim()
    assert left < 450 and right > 1550
    assert top < 450 and bottom > 1550, "rows of an image run downwards"


@pytest.mark.parametrize("turn", [0.0, 30.0])
def test_bins_are_squares_of_their_side_and_turn(adata: AnnData, turn: float) -> None:
    adata.uns["hypergene"]["layout"] = {"shape": "square", "orientation_deg": turn}
    spots = spots_of(draw(adata, ["ERBB2"]), 0)
    assert isinstance(spots, PolyCollection)
    corners = spots.get_paths()[0].vertices[:4]
    sides = np.diff(np.vstack([corners, corners[:1]]), axis=0)
    assert np.allclose(np.hypot(*sides.T), 100)
    angles = np.degrees(np.arctan2(sides[:, 1], sides[:, 0])) % 90
    assert np.allclose(np.minimum(np.abs(angles - turn), 90 - np.abs(angles - turn)), 0, atol=1e-6)
    assert np.allclose(corners.mean(axis=0), adata.obsm["spatial"][0])


def test_sparse_and_dense_tables_look_the_same(adata: AnnData) -> None:
    dense = pixels(draw(adata, ["KRT5"]))
    adata.X = sp.csr_matrix(adata.X)
    assert np.array_equal(pixels(draw(adata, ["KRT5"])), dense)


def test_a_gene_that_does_not_vary_is_drawn_too(adata: AnnData) -> None:
    assert pixels(draw(adata, ["FLAT"])).min() < 200


def test_what_is_known_of_a_gene_stands_above_it(adata: AnnData) -> None:
    def title() -> str:
        return draw(adata, ["FLAT"]).axes[0].get_title()

    assert title() == "FLAT"
    adata.var["heldout_pcc"] = [0.1, np.nan, 0.4]
    assert title() == "FLAT  (held-out r = 0.40)"
    adata.var["reliability"] = ["C", "refuse", "B"]
    assert title() == "FLAT  (class B, held-out r = 0.40)"


def test_the_scale_bar_is_a_round_number_of_micrometres(adata: AnnData) -> None:
    # 1,200 px at 0.5 µm/px are 600 µm across; a quarter of that holds 100 µm.
    texts = [text.get_text() for text in draw(adata, ["ERBB2"]).axes[0].texts]
    assert texts == ["100 µm"]
