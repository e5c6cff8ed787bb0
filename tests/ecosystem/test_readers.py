"""The tools people already use, each opening what we write with its own package."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from tiny.prediction import tiny_prediction, write_tiny_prediction

from hypergene.output import read_anndata
from hypergene.pipeline.export import export

GENES = ("ERBB2", "HLA-A/B", "Abc", "ABC", "α-SMA")
SIZE = (1200, 1200)
TABLE = "hypergene_tiles"

for package in ("scanpy", "squidpy", "spatialdata", "wsidata", "lazyslide"):
    pytest.importorskip(package)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Draw without a window, and let other people's packages warn of each other."""
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.use("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def prediction(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the painted slide's size, 1 µm/px."""
    folder = tmp_path_factory.mktemp("prediction")
    return write_tiny_prediction(folder, GENES, size_px=SIZE, mpp=(1.0, 1.0), archetypes=True)


@pytest.fixture(scope="module")
def store(prediction: Path) -> Path:
    """The SpatialData store."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        output = export(prediction, "spatialdata").output
    assert output is not None
    return output


@pytest.fixture(scope="module")
def expected() -> anndata.AnnData:
    """What was predicted."""
    return tiny_prediction(GENES, size_px=SIZE, mpp=(1.0, 1.0), archetypes=True)


def tables(prediction: Path, store: Path) -> list[anndata.AnnData]:
    """The prediction itself, and the table of its export."""
    import spatialdata

    return [
        anndata.read_zarr(prediction),
        spatialdata.read_zarr(store).tables["hypergene_tiles"],
    ]


def test_scanpy_computes_and_draws(prediction: Path, store: Path, expected: Any) -> None:
    import scanpy as sc

    for adata in tables(prediction, store):
        np.testing.assert_array_equal(adata[:, "ABC"].X, expected[:, "ABC"].X)
        sc.pp.pca(adata, n_comps=2)
        # Without numba, which would compile for half a minute.
        sc.pp.neighbors(
            adata, use_rep="X_hypergene", n_neighbors=5, method="gauss", transformer="sklearn"
        )
        assert adata.obsp["connectivities"].shape == (len(expected), len(expected))
        axes = sc.pl.embedding(adata, basis="spatial", color="HLA-A/B", show=False)
        drawn = axes.collections[0].get_array()
        np.testing.assert_allclose(np.sort(drawn), np.sort(expected[:, "HLA-A/B"].X.ravel()))


def test_squidpy_finds_neighbours_and_draws_over_the_tissue(
    prediction: Path, store: Path, expected: Any
) -> None:
    import squidpy as sq

    for adata in tables(prediction, store):
        sq.gr.spatial_neighbors(adata, coord_type="grid", n_neighs=6)
        degree = np.asarray(adata.obsp["spatial_connectivities"].sum(axis=1)).ravel()
        # Six neighbours in the midst of a hexagonal lattice, fewer at its rim.
        assert degree.max() == 6
        assert (degree > 0).all()
        sq.gr.spatial_autocorr(adata, mode="moran", genes=["ERBB2"], n_perms=None)
        assert np.isfinite(adata.uns["moranI"].loc["ERBB2", "I"])
        axes = sq.pl.spatial_scatter(adata, color="ERBB2", return_ax=True)
        (image,) = axes.get_images()
        assert image.get_array().shape[:2] == (500, 500)
        drawn = np.asarray(axes.collections[0].get_array())
        np.testing.assert_allclose(np.sort(drawn), np.sort(expected[:, "ERBB2"].X.ravel()))


def test_spatialdata_matches_spots_and_table(store: Path, expected: Any) -> None:
    import spatialdata
    from spatialdata.models import Image2DModel, ShapesModel, TableModel

    sdata = spatialdata.read_zarr(store)
    Image2DModel().validate(sdata.images["wsi_thumbnail"])
    for shapes in ("spots", "tiles"):
        ShapesModel().validate(sdata.shapes[shapes])
    TableModel().validate(sdata.tables["hypergene_tiles"])
    elements, table = spatialdata.join_spatialelement_table(
        sdata=sdata, spatial_element_names="spots", table_name="hypergene_tiles", how="inner"
    )
    assert elements["spots"].index.tolist() == table.obs["spot"].tolist()
    assert len(table) == len(expected)
    values = spatialdata.get_values("ABC", sdata=sdata, element_name="spots", table_name=TABLE)
    np.testing.assert_array_equal(values["ABC"], expected[:, "ABC"].X.ravel())


def test_spatialdata_asks_for_a_part_of_the_slide(store: Path, expected: Any) -> None:
    import spatialdata

    part = spatialdata.bounding_box_query(
        spatialdata.read_zarr(store),
        axes=("x", "y"),
        min_coordinate=[0, 0],
        max_coordinate=[600, 400],
        target_coordinate_system="global",
    )
    x, y = expected.obsm["spatial"].T
    # Circles count by their centre.
    inside = (x <= 600) & (y <= 400)
    assert 0 < inside.sum() < len(expected)
    table = part.tables["hypergene_tiles"]
    assert set(table.obs["spot"]) == set(expected.obs_names[inside])
    assert part.images["wsi_thumbnail"].shape == (3, 167, 250)


def test_spatialdata_plot_colours_the_spots_by_a_gene(store: Path) -> None:
    pytest.importorskip("spatialdata_plot")
    import matplotlib.pyplot as plt
    import spatialdata

    figure, axes = plt.subplots()
    drawing = spatialdata.read_zarr(store).pl.render_images("wsi_thumbnail")
    drawing.pl.render_shapes("spots", color="Abc").pl.show(ax=axes)
    figure.canvas.draw()
    (bar,) = (one for one in figure.axes if one is not axes)
    assert bar.get_ylabel() == "Abc"
    assert axes.get_xlim() == pytest.approx((0, 1200), abs=3)


def test_lazyslide_draws_a_gene_beside_the_slide(
    store: Path, painted_slide: Path, expected: Any
) -> None:
    import lazyslide as zs
    import matplotlib.pyplot as plt
    from wsidata import open_wsi

    wsi = open_wsi(painted_slide, store=str(store))
    assert wsi.tile_spec("tiles").base_width == 55
    figure, axes = plt.subplots()
    zs.pl.tiles(
        wsi, feature_key="hypergene", color="ABC", style="scatter", ax=axes, show_contours=False
    )
    (marks,) = (c for c in axes.collections if c.get_array() is not None)
    np.testing.assert_allclose(np.asarray(marks.get_array()), expected[:, "ABC"].X.ravel())
    np.testing.assert_allclose(marks.get_offsets(), expected.obsm["spatial"], atol=2)
    figure.canvas.draw()


def test_lazyslide_reads_the_pixels_under_a_spot(
    store: Path, painted_slide: Path, expected: Any
) -> None:
    from wsidata import open_wsi

    import hypergene

    wsi = open_wsi(painted_slide, store=str(store))
    tile = next(iter(wsi.iter.tile_images("tiles")))
    x, y = expected.obsm["spatial"][0] - 55 / 2
    with hypergene.open_slide(painted_slide) as slide:
        ours = slide.read(round(x), round(y), 55, 55)
    assert tile.image.shape == ours.shape
    assert np.abs(tile.image.astype(int) - ours.astype(int)).mean() < 12


def test_another_slide_is_refused_by_wsidata(store: Path, tmp_path: Path) -> None:
    from wsidata import open_wsi

    from hypergene.pipeline.painted import paint_slide

    other = paint_slide(tmp_path / "other.tiff", size_px=900, mpp=1.0)
    with pytest.raises(ValueError, match="belongs to a slide of shape"):
        open_wsi(other, store=str(store))


def test_the_data_for_vitessce_are_read_by_anndata_and_ome_zarr(
    prediction: Path, tmp_path: Path, expected: Any
) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    folder = export(prediction, "vitessce", tmp_path / "v").output
    assert folder is not None
    adata = read_anndata(folder / "prediction.zarr")
    np.testing.assert_array_equal(adata.X, expected.X)
    location = parse_url(folder / "he.ome.zarr")
    assert location is not None
    (node,) = Reader(location)()
    assert node.data[0].shape == (3, 500, 500)
    assert [axis["name"] for axis in node.metadata["axes"]] == ["c", "y", "x"]
