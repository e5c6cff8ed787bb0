"""Slides that other packages hold give what their file gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from anndata import AnnData

from hypergene.errors import HypergeneError, ResolutionError, SlideError, UsageError
from hypergene.pipeline.predict import predict, predict_to_file
from hypergene.pipeline.tile import tile
from hypergene.slide import open_slide

pytestmark = pytest.mark.filterwarnings("ignore")

GENES = ("ERBB2", "KRT8", "DCN")


def same(one: AnnData, other: AnnData) -> None:
    assert np.array_equal(one.X, other.X)
    assert np.array_equal(one.layers["std"], other.layers["std"])
    pd.testing.assert_frame_equal(one.obs, other.obs)
    assert np.array_equal(one.obsm["spatial"], other.obsm["spatial"])
    assert np.array_equal(one.obsm["X_hypergene"], other.obsm["X_hypergene"])


@pytest.fixture(scope="module")
def pixels(painted_slide: Path) -> np.ndarray:
    return tifffile.imread(painted_slide)


@pytest.fixture(scope="module")
def flat_slide(pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The painted slide with one level."""
    path = tmp_path_factory.mktemp("flat") / "flat.tiff"
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(256, 256), compression="deflate")
    return path


@pytest.fixture(scope="module")
def of_file(flat_slide: Path, tiny_model: Path) -> AnnData:
    return predict(flat_slide, model=str(tiny_model), mpp=1.0)


@pytest.fixture(scope="module")
def make_sdata(pixels: np.ndarray) -> Callable[..., Any]:
    """A SpatialData of the painted slide, its scale in the coordinate system `system`."""
    spatialdata = pytest.importorskip("spatialdata")
    from spatialdata.models import Image2DModel, ShapesModel
    from spatialdata.transformations import Identity, Scale

    def make(
        system: str = "global",
        scale: float = 1.0,
        channels: tuple[str, ...] = ("r", "g", "b"),
        chunks: tuple[int, int, int] = (3, 200, 170),
        **settings: Any,
    ) -> Any:
        order = [("r", "g", "b").index(channel) for channel in channels]
        image = Image2DModel.parse(
            np.moveaxis(pixels[..., order], 2, 0), dims=("c", "y", "x"), c_coords=list(channels),
            transformations={system: Scale([scale, scale], ("x", "y")), "px": Identity()},
            chunks=chunks, **settings,
        )  # fmt: skip
        xy = np.array([[300.0, 400], [610.5, 700], [500, 500]])
        # In another unit than px: half of them.
        spots = ShapesModel.parse(
            xy / 2, geometry=0, radius=27.5, index=["a", "b", "c"],
            transformations={"px": Scale([2.0, 2.0], ("x", "y"))},
        )  # fmt: skip
        return spatialdata.SpatialData(images={"he": image}, shapes={"spots": spots})

    return make


def test_an_image_of_spatialdata_gives_what_its_pixels_in_a_file_give(
    make_sdata: Callable[..., Any], of_file: AnnData, tiny_model: Path
) -> None:
    held = predict(make_sdata(), model=str(tiny_model), mpp=1.0)
    same(held, of_file)
    assert held.uns["hypergene"]["slide"] == "he"
    assert list(held.uns["spatial"]) == ["he"]
    assert held.uns["hypergene"]["arguments"]["image"] == "he"


def test_channels_are_taken_by_their_names(
    make_sdata: Callable[..., Any], of_file: AnnData, tiny_model: Path
) -> None:
    same(predict(make_sdata(channels=("b", "r", "g")), model=str(tiny_model), mpp=1.0), of_file)


def test_a_store_of_several_scales_is_read_like_a_pyramid(
    make_sdata: Callable[..., Any], tmp_path: Path
) -> None:
    from spatialdata import read_zarr

    make_sdata(scale_factors=[2, 2]).write(tmp_path / "store.zarr")
    with open_slide(read_zarr(tmp_path / "store.zarr"), mpp=1.0) as slide:
        assert [(level.width, level.downsample) for level in slide.levels] == [
            (1200, (1.0, 1.0)),
            (600, (2.0, 2.0)),
            (300, (4.0, 4.0)),
        ]
        assert slide.path == tmp_path / "store.zarr" / "images" / "he"


def test_a_coordinate_system_named_after_its_unit_tells_the_resolution(
    make_sdata: Callable[..., Any],
) -> None:
    with open_slide(make_sdata("microns", 0.5)) as slide:
        assert (slide.mpp.x, slide.mpp.y, slide.mpp.source) == (0.5, 0.5, "spatialdata.microns")
    with open_slide(make_sdata("microns", 0.5), mpp=0.25) as slide:
        assert slide.mpp.x == 0.25
        assert any("0.5 µm/px (spatialdata.microns)" in text for text in slide.warnings)


def test_any_other_coordinate_system_does_not(make_sdata: Callable[..., Any]) -> None:
    with pytest.raises(ResolutionError, match="does not say how many microns") as error:
        open_slide(make_sdata("global", 0.5))
    assert "mpp=0.5" in (error.value.hint or "")


def test_circles_are_spots_in_pixels_of_the_image(
    make_sdata: Callable[..., Any], flat_slide: Path, tiny_model: Path
) -> None:
    held = predict(make_sdata(), shapes="spots", model=str(tiny_model), mpp=1.0)
    assert list(held.obs_names) == ["a", "b", "c"]
    assert np.allclose(held.obsm["spatial"], [[300, 400], [610.5, 700], [500, 500]])
    spots = AnnData(obs=pd.DataFrame(index=["a", "b", "c"]))
    spots.obsm["spatial"] = held.obsm["spatial"]
    same(held, predict(flat_slide, coords=spots, model=str(tiny_model), mpp=1.0))
    assert held.uns["hypergene"]["arguments"]["shapes"] == "spots"


def test_only_the_blocks_that_are_needed_are_read(
    make_sdata: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hypergene.slide.array_reader import ArrayReader

    computed: list[tuple[int, int, int]] = []
    compute = ArrayReader._computed

    def counted(self: ArrayReader, *place: int) -> np.ndarray:
        computed.append(place)
        return compute(self, *place)

    monkeypatch.setattr(ArrayReader, "_computed", counted)
    with open_slide(make_sdata(), mpp=1.0) as slide:
        slide.read(190, 160, 20, 20)
        slide.read(195, 165, 20, 20)

    assert len(computed) == len(set(computed)) <= 4


def test_a_picture_that_is_none_is_refused(make_sdata: Callable[..., Any]) -> None:
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel

    deep = Image2DModel.parse(np.zeros((3, 8, 8), np.uint16), dims=("c", "y", "x"))
    dyes = Image2DModel.parse(
        np.zeros((3, 8, 8), np.uint8), dims=("c", "y", "x"), c_coords=["DAPI", "CD3", "CD8"]
    )
    for image, said in ((deep, "uint16"), (dyes, "DAPI")):
        with pytest.raises(SlideError, match=said):
            open_slide(SpatialData(images={"it": image}), mpp=1.0)
    with pytest.raises(UsageError, match="2 images"):
        open_slide(SpatialData(images={"a": deep, "b": dyes}), mpp=1.0)
    with pytest.raises(UsageError, match="no image"):
        open_slide(SpatialData(), mpp=1.0)
    with pytest.raises(UsageError, match="no image 'x'"):
        open_slide(make_sdata(), image="x", mpp=1.0)


def test_results_of_a_slide_in_memory_need_a_place(
    make_sdata: Callable[..., Any], tiny_model: Path, tmp_path: Path
) -> None:
    sdata = make_sdata()
    for job in (tile, predict_to_file):
        with pytest.raises(UsageError, match="no folder") as error:
            job(sdata, mpp=1.0)
        assert "out=" in (error.value.hint or "")
    assert tile(sdata, tmp_path, mpp=1.0).output == tmp_path / "he.spots.zarr"
    outcome = predict_to_file(sdata, tmp_path, mpp=1.0, model=str(tiny_model), genes=GENES)
    assert outcome.output == tmp_path / "he.zarr"


@pytest.fixture(scope="module")
def wsi_slide(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray, save_svs: Any) -> Path:
    return save_svs(pixels, tmp_path_factory.mktemp("wsi") / "painted.svs")


@pytest.fixture
def wsi(wsi_slide: Path) -> Any:
    return pytest.importorskip("wsidata").open_wsi(wsi_slide, store=None)


def test_wsidata_gives_what_its_file_gives(wsi: Any, wsi_slide: Path, tiny_model: Path) -> None:
    held = predict(wsi, model=str(tiny_model))
    same(held, predict(wsi_slide, model=str(tiny_model)))
    assert held.uns["hypergene"]["mpp"]["source"] == "openslide.mpp-x"
    assert held.uns["hypergene"]["tissue"] == "auto"


def test_its_resolution_is_a_users_word(wsi: Any) -> None:
    wsi.set_mpp(0.8)
    with open_slide(wsi) as slide:
        assert (slide.mpp.x, slide.mpp.source) == (0.8, "wsidata.mpp")
    with open_slide(wsi, mpp=0.9) as slide:
        assert slide.mpp.x == 0.9


def test_its_tissue_and_its_tiles_are_taken(wsi: Any, wsi_slide: Path, tiny_model: Path) -> None:
    lazyslide = pytest.importorskip("lazyslide")
    lazyslide.pp.find_tissues(wsi)
    lazyslide.pp.tile_tissues(wsi, 112, mpp=1.0)
    on_lattice = predict(wsi, model=str(tiny_model), genes=GENES)
    assert on_lattice.uns["hypergene"]["tissue"] == "shapes 'tissues'"
    anew = predict(wsi, model=str(tiny_model), genes=GENES, tissue="none")
    assert anew.uns["hypergene"]["tissue"] == "none"
    at_tiles = predict(wsi, shapes="tiles", model=str(tiny_model), genes=GENES)
    tiles = wsi.shapes["tiles"]
    assert at_tiles.n_obs == len(tiles) > 10
    assert np.allclose(
        at_tiles.obsm["spatial"], np.column_stack([tiles.centroid.x, tiles.centroid.y])
    )
    layout = at_tiles.uns["hypergene"]["layout"]
    assert (layout["name"], layout["shape"]) == ("tiles", "square")
    assert layout["diameter_um"] == pytest.approx(112, rel=0.01)
    assert not any(
        "pitch" in text or "apart" in text for text in at_tiles.uns["hypergene"]["warnings"]
    )


def test_another_scene_is_no_slide_of_ours(wsi: Any) -> None:
    wsi.properties.shape = [10, 10]
    with pytest.raises(SlideError, match="another scene"):
        open_slide(wsi)


def spots_on(slide: Path | None) -> AnnData:
    adata = AnnData(obs=pd.DataFrame({"in_tissue": [1, 0, 1]}, index=["x-1", "y-1", "z-1"]))
    adata.obsm["spatial"] = np.array([[300, 400], [600, 700], [500, 500]])
    about = {} if slide is None else {"source_image_path": str(slide)}
    adata.uns["spatial"] = {"s": {"metadata": about}}
    return adata


def test_an_anndata_is_predicted_at_its_spots(painted_slide: Path, tiny_model: Path) -> None:
    held = predict(spots_on(painted_slide), model=str(tiny_model))
    assert list(held.obs_names) == ["x-1", "z-1"], "as --coords does, in the tissue alone"
    same(held, predict(painted_slide, coords=spots_on(None), model=str(tiny_model)))
    assert held.uns["hypergene"]["slide"] == painted_slide.name
    assert held.uns["hypergene"]["arguments"]["coords"] == "the AnnData of 3 spots"


def test_an_anndata_in_memory_is_read_as_its_file_is(
    painted_slide: Path, tiny_model: Path, tmp_path: Path
) -> None:
    adata = spots_on(None)
    adata.write_h5ad(tmp_path / "spots.h5ad")
    from_file = predict(painted_slide, coords=tmp_path / "spots.h5ad", model=str(tiny_model))
    same(predict(painted_slide, coords=adata, model=str(tiny_model)), from_file)


@pytest.mark.parametrize("slide", [None, Path("gone.svs")])
def test_an_anndata_without_its_slide_says_what_to_do(slide: Path | None) -> None:
    with pytest.raises(SlideError) as error:
        predict(spots_on(slide))
    assert "coords=adata" in (error.value.hint or "")


def test_what_makes_no_sense_is_one_sentence(
    painted_slide: Path, make_sdata: Callable[..., Any]
) -> None:
    adata = spots_on(painted_slide)
    cases: list[Callable[[], Any]] = [
        lambda: predict(adata, coords="spots.csv"),
        lambda: predict(painted_slide, shapes="tiles"),
        lambda: predict(painted_slide, image="he"),
        lambda: predict(make_sdata(), mpp=1.0, shapes="none"),
        lambda: predict(make_sdata(), mpp=1.0, shapes="spots", coords=adata),
        lambda: predict(3),  # type: ignore[arg-type]
        lambda: predict(painted_slide, gene="ERBB2"),  # type: ignore[call-arg]
        lambda: predict(make_sdata(), mpp=1.0, tissue="spots"),
    ]
    for case in cases:
        with pytest.raises(HypergeneError) as error:
            case()
        assert error.value.message.endswith(".") and error.value.hint
    with pytest.raises(UsageError, match="gene=") as error:
        predict(painted_slide, gene="ERBB2")  # type: ignore[call-arg]
    assert "genes=" in (error.value.hint or "")


def test_paths_may_be_texts_or_paths(painted_slide: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "spots.csv").write_text("name,x,y\na,300,400\nb,500,500\n")
    one = predict(painted_slide, model=tiny_model, coords=str(tmp_path / "spots.csv"))
    same(one, predict(str(painted_slide), model=str(tiny_model), coords=tmp_path / "spots.csv"))
