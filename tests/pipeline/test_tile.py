from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pytest
import zarr
from PIL import Image

from hypergene import __version__
from hypergene.errors import HypergeneError, OutputError, SlideError, TissueError, UsageError
from hypergene.output import read_anndata
from hypergene.pipeline import tile as tile_module
from hypergene.pipeline.outcome import Outcome
from hypergene.pipeline.tile import TileOptions, tile
from hypergene.slide import open_slide
from hypergene.spots import layout_named
from hypergene.st import read_coords


@pytest.fixture(scope="module")
def tiled(painted_slide: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """Everything ``tile`` can write, of the painted slide."""
    out = tmp_path_factory.mktemp("tiled")
    options = TileOptions(geojson=True, pixels=True, width_um=64.0, size_px=32, workers=1)
    return tile(painted_slide, out, options), out


def test_the_spots_are_a_canonical_anndata_without_genes(
    tiled: tuple[Outcome, Path], painted_slide: Path
) -> None:
    outcome, out = tiled
    assert outcome.output == out / "painted.spots.zarr"
    adata = read_anndata(outcome.output)
    assert adata.shape == (outcome.spots, 0)
    columns = ["in_tissue", "array_row", "array_col", "tissue_fraction", "readable"]
    assert list(adata.obs) == columns
    assert adata.obs["readable"].dtype == bool and adata.obs["readable"].all()
    assert (adata.obs["in_tissue"] == 1).all()
    assert adata.obs["tissue_fraction"].between(0.25, 1).all()
    # Hexagons: columns are even on even rows and odd on odd ones.
    assert ((adata.obs["array_row"] + adata.obs["array_col"]) % 2 == 0).all()
    assert adata.obsm["spatial"].shape == (outcome.spots, 2)
    assert adata.obsm["spatial"].min() >= 0
    assert adata.obsm["spatial"].max() <= 1200

    (library,) = adata.uns["spatial"].values()
    assert list(adata.uns["spatial"]) == ["painted"]
    assert library["scalefactors"]["spot_diameter_fullres"] == pytest.approx(55.0)
    assert sum("hires" in name for name in library["images"]) == 1

    about = adata.uns["hypergene"]
    assert about["version"] == __version__
    assert about["slide"] == painted_slide.name
    assert about["mpp"]["x"] == pytest.approx(1.0)
    assert about["mpp"]["source"]
    assert about["layout"]["name"] == "visium"
    assert about["layout"]["pitch_um"] == 100
    assert about["tissue"] == "auto"
    assert about["arguments"]["width_um"] == 64
    assert about["seconds"]["spots"] > 0


def test_anndata_itself_reads_the_store(tiled: tuple[Outcome, Path]) -> None:
    outcome, _ = tiled
    assert anndata.read_zarr(outcome.output).n_obs == outcome.spots


def test_each_tile_shows_its_spot(tiled: tuple[Outcome, Path], painted_slide: Path) -> None:
    outcome, out = tiled
    tiles = zarr.open_array(out / "painted.tiles.zarr", mode="r")
    assert tiles.shape == (outcome.spots, 32, 32, 3)
    assert tiles.dtype == np.uint8
    assert tiles.attrs["width_um"] == 64
    assert tiles.attrs["mpp"] == 2
    assert outcome.output is not None
    centres = read_anndata(outcome.output).obsm["spatial"]
    with open_slide(painted_slide) as slide:
        for row in (0, outcome.spots // 2, outcome.spots - 1):
            expected = slide.read_um(*centres[row], width_um=64.0, size_px=32)
            assert np.array_equal(tiles[row], expected)


def test_the_overlay_is_a_picture_of_the_slide_with_spots_on_it(
    tiled: tuple[Outcome, Path], painted_slide: Path
) -> None:
    _, out = tiled
    with Image.open(out / "painted.spots.png") as picture, open_slide(painted_slide) as slide:
        plain, _ = slide.thumbnail(2000)
        drawn = np.asarray(picture)
    assert drawn.shape == plain.shape
    changed = np.abs(drawn.astype(int) - plain).max(axis=-1) > 60
    assert 0.005 < changed.mean() < 0.3


def test_geojson_has_a_shape_a_spot(tiled: tuple[Outcome, Path]) -> None:
    outcome, out = tiled
    shapes = json.loads((out / "painted.spots.geojson").read_text())
    assert len(shapes["features"]) == outcome.spots


def test_the_spots_file_is_taken_back_as_coordinates(
    tiled: tuple[Outcome, Path], painted_slide: Path, tmp_path: Path
) -> None:
    outcome, _ = tiled
    assert outcome.output is not None
    spots = read_coords(outcome.output, layout=layout_named("st"), mpp=(1.0, 1.0))
    written = read_anndata(outcome.output)
    assert spots.names.tolist() == written.obs_names.tolist()
    assert spots.layout.name == "visium"
    again = tile(painted_slide, tmp_path, coords=outcome.output)
    assert again.output is not None
    second = read_anndata(again.output)
    assert np.array_equal(second.obsm["spatial"], written.obsm["spatial"])
    # Whether a spot is readable is known only where its pixels were read.
    assert second.obs.equals(written.obs.drop(columns="readable"))


def test_an_output_that_exists_is_kept_unless_overwriting_is_asked_for(
    painted_slide: Path, tmp_path: Path
) -> None:
    overlay = tmp_path / "painted.spots.png"
    overlay.write_text("mine")
    with pytest.raises(OutputError, match="exists") as error:
        tile(painted_slide, tmp_path)
    assert "--overwrite" in (error.value.hint or "")
    assert [path.name for path in tmp_path.iterdir()] == ["painted.spots.png"]
    assert overlay.read_text() == "mine"

    assert tile(painted_slide, tmp_path, overwrite=True).error is None
    assert overlay.read_bytes().startswith(b"\x89PNG")


def test_a_failure_half_way_leaves_nothing(
    painted_slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("disk on fire")

    monkeypatch.setattr(tile_module, "write_anndata", fail)
    with pytest.raises(RuntimeError, match="disk on fire"):
        tile(painted_slide, tmp_path, geojson=True)
    assert list(tmp_path.iterdir()) == []


def test_results_stand_beside_the_slide_by_default(tmp_path: Path) -> None:
    slide = tmp_path / "block.png"
    Image.new("RGB", (300, 300), (220, 160, 200)).save(slide)
    outcome = tile(slide, mpp=1.0, tissue="none")
    assert outcome.output == tmp_path / "block.spots.zarr"


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"layout": "hexagons"}, UsageError),
        ({"min_tissue": 2.0}, UsageError),
        ({"width_um": 0.0}, UsageError),
        ({"size_px": 0}, UsageError),
        ({"mpp": 100.0}, HypergeneError),
        ({"mpp": -1.0}, HypergeneError),
        ({"tissue": "no-such-mask.png"}, TissueError),
        ({"coords": Path("no-such-spots.csv")}, HypergeneError),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence_and_no_file(
    painted_slide: Path, tmp_path: Path, options: dict[str, object], kind: type[HypergeneError]
) -> None:
    with pytest.raises(kind):
        tile(painted_slide, tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_slide_that_is_missing_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SlideError):
        tile(tmp_path / "missing.svs", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_squidpy_draws_the_spots_over_the_tissue(tiled: tuple[Outcome, Path]) -> None:
    squidpy = pytest.importorskip("squidpy")
    import matplotlib

    matplotlib.use("Agg")
    outcome, _ = tiled
    adata = anndata.read_zarr(outcome.output)
    axes = squidpy.pl.spatial_scatter(adata, color="tissue_fraction", return_ax=True)
    assert axes.images, "the tissue image lies under the spots"


def test_a_real_slide_is_tiled(shared_data: Path, tmp_path: Path) -> None:
    outcome = tile(shared_data / "slides" / "CMU-1-Small-Region.svs", tmp_path)
    assert outcome.output is not None
    adata = read_anndata(outcome.output)
    assert 60 < adata.n_obs <= 180
    assert adata.uns["hypergene"]["mpp"]["x"] == pytest.approx(0.499)


def test_a_tile_that_cannot_be_decoded_is_said_of_its_spot(
    painted_slide: Path, tmp_path: Path
) -> None:
    import tifffile

    with Image.open(painted_slide) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    slide = tmp_path / "blemished.tif"
    tifffile.imwrite(slide, pixels, photometric="rgb", tile=(64, 64), compression="deflate")
    with tifffile.TiffFile(slide) as tif:
        page = tif.pages[0]
        middle = page.chunked[0] // 2 * page.chunked[1] + page.chunked[1] // 2
        offset, count = page.dataoffsets[middle], page.databytecounts[middle]
    data = bytearray(slide.read_bytes())
    data[offset : offset + count] = bytes(count)
    slide.write_bytes(data)
    options = TileOptions(layout="st", mpp=1.0, tissue="none", pixels=True, width_um=32.0)
    outcome = tile(slide, tmp_path, options, size_px=16, diameter_um=32.0, pitch_um=32.0)
    assert outcome.output is not None
    adata = read_anndata(outcome.output)
    lost = ~adata.obs["readable"].to_numpy()
    assert 1 <= lost.sum() <= 16
    height, width = pixels.shape[:2]
    assert np.abs(adata.obsm["spatial"][lost] - (width / 2, height / 2)).max() < 128
    tiles = zarr.open_array(tmp_path / "blemished.tiles.zarr", mode="r")[:]
    assert (tiles[lost] == 255).all()
    assert any(f"{lost.sum()} of {len(lost)} tiles" in said for said in outcome.warnings)
