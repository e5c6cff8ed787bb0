"""What a prediction holds, what it depends on, and what it must not depend on."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from anndata import AnnData
from numpy.typing import NDArray
from PIL import Image

from hypergene import __version__
from hypergene.errors import HypergeneError, OutputError, UsageError
from hypergene.features.context import Context
from hypergene.features.table import FeatureFile
from hypergene.model.config import HeldOutConfig
from hypergene.output import AnnDataStream
from hypergene.pipeline.predict import PredictOptions, predict, predict_to_file
from hypergene.pipeline.prediction import about, plan, readout
from hypergene.pipeline.tile import tile
from hypergene.slide import open_slide
from hypergene.zoo import load_model, read_config, weights_sha256, write_model

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def prediction(painted_slide: Path, tiny_model: Path) -> AnnData:
    """The painted slide, at the model's own lattice."""
    return predict(painted_slide, model=str(tiny_model))


@pytest.fixture(scope="module")
def pixels(painted_slide: Path) -> Pixels:
    """Level 0 of the painted slide, 1,200 × 1,200 px at 1 µm/px."""
    with open_slide(painted_slide) as slide:
        return slide.read(0, 0, *slide.dimensions)


def save_png(pixels: Pixels, path: Path) -> Path:
    Image.fromarray(pixels).save(path, compress_level=1)
    return path


def coords(path: Path, xy: NDArray[Any], names: NDArray[Any] | None = None) -> Path:
    table = pd.DataFrame(xy, columns=["x", "y"])
    table["name"] = [f"s{row}" for row in range(len(xy))] if names is None else names
    table.to_csv(path, index=False)
    return path


def assert_same(left: AnnData, right: AnnData, *, atol: float = 1e-5) -> None:
    """All that is predicted agrees, spot by spot; ood_score to a step of its percentiles."""
    np.testing.assert_allclose(left.X, right.X, atol=atol)
    np.testing.assert_allclose(left.layers["std"], right.layers["std"], atol=atol)
    np.testing.assert_allclose(left.obsm["X_hypergene"], right.obsm["X_hypergene"], atol=atol)
    np.testing.assert_allclose(left.obs["radius"], right.obs["radius"], atol=atol)
    np.testing.assert_allclose(left.obs["ood_score"], right.obs["ood_score"], atol=0.0101)


# What it holds


@pytest.mark.parametrize("format", ["zarr", "h5ad"])
def test_the_file_is_the_canonical_anndata(
    painted_slide: Path, tiny_model: Path, tmp_path: Path, format: Any
) -> None:
    options = PredictOptions(model=str(tiny_model), format=format)
    outcome = predict_to_file(painted_slide, tmp_path, options)
    assert outcome.output == tmp_path / f"painted.{format}"
    read = anndata.read_zarr if format == "zarr" else anndata.read_h5ad
    adata = read(outcome.output)
    config = read_config(tiny_model)
    n, genes = outcome.spots, len(config.genes)
    assert n > 15
    assert adata.shape == (n, genes) == (outcome.spots, outcome.genes)

    assert adata.X.dtype == np.float32
    assert np.isfinite(adata.X).all()
    assert (adata.X >= 0).all()
    assert adata.X.std(axis=0).min() > 0.05  # or no test here would see a difference
    assert [name for name in adata.layers if name] == ["std"]  # anndata 0.13 counts X as None
    assert adata.layers["std"].dtype == np.float32
    assert (adata.layers["std"] > 0).all()

    assert {name: str(kind) for name, kind in adata.obs.dtypes.items()} == {
        "in_tissue": "int8",
        "array_row": "int32",
        "array_col": "int32",
        "tissue_fraction": "float32",
        "readable": "bool",
        "ood_score": "float32",
        "radius": "float32",
    }
    assert adata.obs_names.is_unique
    assert adata.obs["ood_score"].between(0, 1).all()
    assert (adata.obs["radius"] > 0).all()

    assert tuple(adata.var_names) == config.genes
    assert tuple(adata.var["gene_ids"].astype(str)) == config.gene_ids
    assert adata.var["heldout_pcc"].dtype == np.float32
    assert adata.var["ceiling_pcc"].dtype == np.float32
    assert adata.var["reliable"].dtype == bool
    assert 0 < adata.var["reliable"].sum() < genes

    assert set(adata.obsm) == {"spatial", "X_hypergene"}
    assert adata.obsm["spatial"].dtype == np.float64
    assert adata.obsm["spatial"].shape == (n, 2)
    assert adata.obsm["X_hypergene"].dtype == np.float32
    assert adata.obsm["X_hypergene"].shape == (n, config.geometry.dim)

    assert set(adata.uns) == {"spatial", "hypergene"}
    (library,) = adata.uns["spatial"].values()
    assert {name for name in library["images"] if "hires" in name} == {"hires"}
    assert library["images"]["hires"].dtype == library["images"]["lowres"].dtype == np.uint8
    assert set(library["scalefactors"]) == {
        "tissue_hires_scalef",
        "tissue_lowres_scalef",
        "spot_diameter_fullres",
    }
    assert library["scalefactors"]["spot_diameter_fullres"] == pytest.approx(100)

    about = adata.uns["hypergene"]
    assert set(about) == {
        *("version", "slide", "mpp", "layout", "tissue", "arguments", "seconds", "model"),
        *("tile_um", "tile_px", "units", "calibration", "device", "precision", "seed", "card"),
        *("warnings", "wait_share", "batch_size"),
    }
    assert about["version"] == __version__
    assert about["slide"] == painted_slide.name
    assert about["mpp"]["x"] == about["mpp"]["y"] == pytest.approx(1.0)
    assert about["mpp"]["source"] == "tiff.XResolution"
    assert about["layout"]["name"] == "st"
    assert about["layout"]["pitch_um"] == 200
    assert about["model"]["name"] == "tiny"
    assert about["model"]["licence"] == "CC0-1.0"
    assert about["model"]["sha256"] == weights_sha256(tiny_model)
    assert list(about["tile_um"]) == [112, 300]
    assert about["units"].startswith("ln(1 + counts per 10,000)")
    assert (about["device"], about["precision"], about["seed"]) == ("cpu", "float32", 0)
    assert set(about["seconds"]) == {
        *("open", "model", "spots", "read", "encode", "predict", "write", "images"),
    }
    waited, computed = about["seconds"]["read"], about["seconds"]["encode"]
    assert about["wait_share"] == pytest.approx(waited / (waited + computed))
    assert about["batch_size"] == 64
    assert list(about["warnings"]) == outcome.warnings


@pytest.mark.parametrize("format", ["zarr", "h5ad"])
def test_every_argument_can_be_written_and_read(
    painted_slide: Path, tiny_model: Path, tmp_path: Path, format: Any
) -> None:
    mask = tmp_path / "mask.png"
    Image.new("L", (60, 60), 255).save(mask)
    every = {
        "model": str(tiny_model),
        "layout": "grid",
        "diameter_um": np.float32(80),
        "pitch_um": 100,
        "orientation_deg": 0.0,
        "coords": coords(tmp_path / "spots.csv", np.array([[300, 300], [500.5, 400]])),
        "mpp": 1.0,
        "tissue": str(mask),
        "min_tissue": 0.5,
        "qc": True,
        "genes": ["KRT8", "ERBB2"],
        "dtype": "float16",
        "format": format,
        "device": "cpu",
        "compile": False,
        "batch_size": 3,
        "workers": 0,
        "seed": 7,
        "overwrite": True,
    }
    # Given spots stay where they are, so an offset would be refused.
    assert set(every) | {"offset_um"} == set(vars(PredictOptions()))
    outcome = predict_to_file(painted_slide, tmp_path, PredictOptions(**every))
    assert outcome.output is not None
    read = anndata.read_zarr if format == "zarr" else anndata.read_h5ad
    adata = read(outcome.output)
    written = adata.uns["hypergene"]["arguments"]
    assert list(written.pop("genes")) == every.pop("genes")
    assert written.pop("coords") == str(every.pop("coords"))
    assert written == pytest.approx(every)
    assert list(adata.var_names) == ["KRT8", "ERBB2"]
    assert adata.uns["hypergene"]["layout"]["diameter_um"] == 80
    assert adata.uns["hypergene"]["mpp"]["source"] == "--mpp"


def test_a_lattice_is_turned_and_moved_as_asked(painted_slide: Path, tiny_model: Path) -> None:
    adata = predict(
        painted_slide, model=str(tiny_model), orientation_deg=30.0, offset_um=(150, 90.5)
    )
    about = adata.uns["hypergene"]
    assert about["layout"]["orientation_deg"] == 30
    assert about["arguments"]["offset_um"].tolist() == [150.0, 90.5]
    placed = dict(zip(zip(adata.obs["array_row"], adata.obs["array_col"], strict=True),
                      adata.obsm["spatial"], strict=True))  # fmt: skip
    steps = [placed[row, column + 1] - at for (row, column), at in placed.items()
             if (row, column + 1) in placed]  # fmt: skip
    assert len(steps) > 3
    angle = np.radians(30)
    np.testing.assert_allclose(steps, len(steps) * [200 * np.array([np.cos(angle), np.sin(angle)])])


def test_without_warnings_an_empty_list_of_texts_is_kept(
    painted_slide: Path, tiny_model: Path, tmp_path: Path
) -> None:
    outcome = predict_to_file(painted_slide, tmp_path, PredictOptions(model=str(tiny_model)))
    assert outcome.warnings == []
    kept = anndata.read_zarr(outcome.output).uns["hypergene"]["warnings"]
    assert kept.shape == (0,)
    assert kept.dtype.kind in "OTU"


def test_tissue_unlike_the_training_tissue_is_warned_of(
    tiny_model: Path, pixels: Pixels, tmp_path: Path
) -> None:
    green = save_png(np.ascontiguousarray(255 - pixels[:, :, [1, 0, 2]]), tmp_path / "odd.png")
    outcome = predict_to_file(
        green, None, PredictOptions(model=str(tiny_model), mpp=1.0, tissue="none")
    )
    (warning,) = outcome.warnings
    assert "ood_score" in warning
    assert anndata.read_zarr(outcome.output).obs["ood_score"].mean() > 0.9


# What it must not depend on


def test_the_same_input_gives_the_same_arrays(
    painted_slide: Path, tiny_model: Path, prediction: AnnData
) -> None:
    again = predict(painted_slide, model=str(tiny_model))
    assert np.array_equal(again.X, prediction.X)
    assert np.array_equal(again.layers["std"], prediction.layers["std"])
    assert np.array_equal(again.obsm["X_hypergene"], prediction.obsm["X_hypergene"])
    assert again.obs.equals(prediction.obs)


@pytest.mark.parametrize(
    "options", [{"batch_size": 1, "workers": 0}, {"batch_size": 7, "workers": 3}], ids=str
)
def test_batches_and_workers_change_nothing(
    painted_slide: Path, tiny_model: Path, prediction: AnnData, options: dict[str, Any]
) -> None:
    assert_same(predict(painted_slide, model=str(tiny_model), **options), prediction)


def test_asking_for_fewer_spots_changes_none_of_them(
    painted_slide: Path, tiny_model: Path, tmp_path: Path
) -> None:
    every = predict(painted_slide, model=str(tiny_model), layout="visium")
    rows = np.array([3, 40, 41, every.n_obs - 1])
    some = coords(tmp_path / "some.csv", every.obsm["spatial"][rows], every.obs_names[rows])
    few = predict(painted_slide, model=str(tiny_model), layout="visium", coords=some)
    assert list(few.obs_names) == list(every.obs_names[rows])
    assert_same(few, every[rows])


def test_a_spot_off_the_lattice_is_predicted_like_one_on_it(
    painted_slide: Path, tiny_model: Path, prediction: AnnData, tmp_path: Path
) -> None:
    # The same places among others that lie anywhere between the lattice's.
    xy = prediction.obsm["spatial"]
    mixed = coords(tmp_path / "mixed.csv", np.concatenate([xy[:5], xy[:9] + 13.7]))
    assert_same(predict(painted_slide, model=str(tiny_model), coords=mixed)[:5], prediction[:5])


def test_more_spots_than_a_block_are_predicted_alike(
    painted_slide: Path,
    tiny_model: Path,
    prediction: AnnData,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readout, "SPOTS_PER_BLOCK", 4)
    assert prediction.n_obs > 8
    assert_same(predict(painted_slide, model=str(tiny_model)), prediction)


@pytest.fixture
def fixed_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold the slide's mean features at zero, whatever is on the slide."""
    original = Context.of

    def of(*arguments: Any) -> Context:
        context = original(*arguments)
        return replace(context, mean=np.zeros_like(context.mean))

    monkeypatch.setattr(Context, "of", staticmethod(of))


@pytest.mark.usefixtures("fixed_statistics")
def test_a_spot_sees_no_farther_than_the_model_says(
    tiny_model: Path, pixels: Pixels, tmp_path: Path
) -> None:
    config = read_config(tiny_model)
    radius_um = config.ring_edges_um[-1] + max(config.encoder.tile_um) / 2
    assert radius_um == 800
    spot = coords(tmp_path / "spot.csv", np.array([[100.0, 100.0]]))

    def look(picture: Pixels) -> NDArray[np.float32]:
        slide = save_png(picture, tmp_path / "picture.png")
        adata = predict(slide, model=str(tiny_model), mpp=1.0, tissue="none", coords=spot)
        return np.concatenate([adata.X[0], adata.layers["std"][0], adata.obsm["X_hypergene"][0]])

    before = look(pixels)
    noise = np.random.default_rng(0).integers(0, 255, pixels.shape, dtype=np.uint8)
    edge = 100 + int(radius_um) + 2  # a pixel may be read beside a tile, to resample it
    far = pixels.copy()
    far[edge:], far[:, edge:] = noise[edge:], noise[:, edge:]
    np.testing.assert_array_equal(look(far), before)

    # Beyond the spot's own crop, within its outer ring: the test above can fail.
    near = pixels.copy()
    near[50:150, 650:750] = noise[50:150, 650:750]
    assert np.abs(look(near) - before).max() > 1e-3


def test_the_statistics_of_the_slide_reach_every_spot(
    tiny_model: Path, pixels: Pixels, tmp_path: Path
) -> None:
    spot = coords(tmp_path / "spot.csv", np.array([[100.0, 100.0]]))
    look = {"model": str(tiny_model), "mpp": 1.0, "tissue": "none", "coords": spot}
    before = predict(save_png(pixels, tmp_path / "a.png"), **look)
    pixels = pixels.copy()
    pixels[910:] = 30
    after = predict(save_png(pixels, tmp_path / "b.png"), **look)
    assert np.abs(after.X - before.X).max() > 1e-3


# Formats of slides


def save_tiff(pixels: Pixels, path: Path) -> Path:
    tifffile.imwrite(
        path, pixels, photometric="rgb", tile=(256, 256), compression="deflate", metadata=None,
        resolution=(1e4, 1e4), resolutionunit="CENTIMETER",
    )  # fmt: skip
    return path


def test_the_kind_of_file_does_not_matter(
    tiny_model: Path, pixels: Pixels, tmp_path: Path, save_svs: Callable[..., Path]
) -> None:
    grid = np.stack(np.meshgrid(np.arange(150, 1100, 170.3), np.arange(150, 1100, 170.3)), -1)
    spots = coords(tmp_path / "spots.csv", grid.reshape(-1, 2))
    look = {"model": str(tiny_model), "coords": spots, "tissue": "none"}
    plain = predict(save_png(pixels, tmp_path / "s.png"), mpp=1.0, **look)
    tiled = predict(save_tiff(pixels, tmp_path / "s.tif"), **look)
    svs = predict(save_svs(pixels, tmp_path / "s.svs"), **look)
    assert tiled.uns["hypergene"]["mpp"]["source"] == "tiff.XResolution"
    assert svs.uns["hypergene"]["mpp"]["source"] == "openslide.mpp-x"
    assert_same(tiled, plain)
    # Levels of a pyramid are rounded to whole grey values.
    assert (np.abs(svs.X - plain.X).mean(axis=0) < 0.01 * plain.X.std(axis=0)).all()


def test_a_real_section_reads_alike_from_jpeg_and_svs(
    tiny_model: Path, shared_data: Path, tmp_path: Path, save_svs: Callable[..., Path]
) -> None:
    (jpeg,) = (shared_data / "her2st" / "ST-imgs" / "B" / "B4").glob("*.jpg")
    with open_slide(jpeg, mpp=0.69) as slide:
        corner = [int(side * 0.4) for side in slide.dimensions]
        crop = slide.read(*corner, 2400, 2400)
    spots = coords(tmp_path / "spots.csv", np.random.default_rng(0).uniform(300, 2100, (20, 2)))
    look = {"model": str(tiny_model), "coords": spots, "tissue": "none", "mpp": 0.69}
    plain = predict(save_png(crop, tmp_path / "crop.png"), **look)
    other = predict(save_svs(crop, tmp_path / "crop.svs"), **look)
    assert (np.abs(other.X - plain.X).mean(axis=0) < 0.04 * plain.X.std(axis=0)).all()


# Genes and spots


def test_genes_come_in_the_order_asked_for_with_unchanged_values(
    painted_slide: Path, tiny_model: Path, prediction: AnnData
) -> None:
    wanted = ("VIM", "ERBB2", "B2M")
    some = predict(painted_slide, model=str(tiny_model), genes=wanted)
    assert tuple(some.var_names) == wanted
    assert_same(some, prediction[:, list(wanted)])
    assert some.var.equals(prediction.var.loc[list(wanted)])


def test_a_single_gene_may_be_a_plain_text(painted_slide: Path, tiny_model: Path) -> None:
    assert list(predict(painted_slide, model=str(tiny_model), genes="KRT8").var_names) == ["KRT8"]


def test_an_unknown_gene_is_named_with_its_neighbours(
    painted_slide: Path, tiny_model: Path
) -> None:
    with pytest.raises(UsageError, match=r"tiny does not know 1 of the 2 genes .*: krt9") as error:
        predict(painted_slide, model=str(tiny_model), genes=("ERBB2", "krt9"))
    assert "KRT8" in (error.value.hint or "")


def test_the_spots_file_of_tile_is_taken_back(
    painted_slide: Path, tiny_model: Path, tmp_path: Path
) -> None:
    tiled = tile(painted_slide, tmp_path, layout="visium")
    assert tiled.output is not None
    spots = anndata.read_zarr(tiled.output)
    adata = predict(painted_slide, model=str(tiny_model), coords=tiled.output)
    assert list(adata.obs_names) == list(spots.obs_names)
    assert np.array_equal(adata.obsm["spatial"], spots.obsm["spatial"])
    for column in ("array_row", "array_col", "in_tissue", "tissue_fraction"):
        assert np.array_equal(adata.obs[column], spots.obs[column])
    assert adata.uns["hypergene"]["layout"]["name"] == "visium"
    assert_same(adata, predict(painted_slide, model=str(tiny_model), layout="visium"))


def test_the_models_own_lattice_may_be_stretched(painted_slide: Path, tiny_model: Path) -> None:
    adata = predict(painted_slide, model=str(tiny_model), pitch_um=300.0, tissue="none")
    assert adata.uns["hypergene"]["layout"]["pitch_um"] == 300
    assert adata.n_obs == 16
    with pytest.raises(UsageError, match="diameter"):
        predict(painted_slide, model=str(tiny_model), diameter_um=0.0)


# Whole or not at all


def test_an_output_that_exists_is_kept(
    painted_slide: Path, tiny_model: Path, tmp_path: Path
) -> None:
    target = tmp_path / "painted.h5ad"
    target.write_text("mine")
    options = PredictOptions(model=str(tiny_model), format="h5ad")
    with pytest.raises(OutputError, match="exists"):
        predict_to_file(painted_slide, tmp_path, options)
    assert target.read_text() == "mine"
    predict_to_file(painted_slide, tmp_path, replace(options, overwrite=True))
    assert anndata.read_h5ad(target).n_obs > 15


def test_a_full_disk_leaves_no_half_store_and_is_named_by_the_output(
    painted_slide: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(AnnDataStream, "__setitem__", fill)
    with pytest.raises(OutputError, match="No space left") as error:
        predict_to_file(painted_slide, tmp_path / "out", PredictOptions(model=str(tiny_model)))
    assert str(tmp_path / "out" / "painted.zarr") in error.value.message
    assert ".tmp" not in error.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_a_late_failure_leaves_the_old_output_as_it_was(
    painted_slide: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[BaseException],
) -> None:
    options = PredictOptions(model=str(tiny_model), genes=("KRT8",), overwrite=True)
    predict_to_file(painted_slide, tmp_path, options)

    def fail(*_: object) -> None:
        raise kind

    monkeypatch.setattr(about, "slide_images", fail)
    with pytest.raises(kind):
        predict_to_file(painted_slide, tmp_path, replace(options, genes=None))
    assert [path.name for path in tmp_path.iterdir()] == ["painted.zarr"]
    assert list(anndata.read_zarr(tmp_path / "painted.zarr").var_names) == ["KRT8"]


@pytest.mark.parametrize(
    "options",
    [
        {"model": "no-such-model"},
        {"genes": ("nonsense",)},
        {"genes": ()},
        {"device": "abacus"},
        {"device": "cuda:99"},
        {"layout": "hexagons"},
        {"layout": "grid"},
        {"min_tissue": 1.5},
        {"batch_size": 0},
        {"dtype": "int8"},
        {"mpp": 100.0},
        {"coords": Path("no-such-spots.csv")},
        {"tissue": "no-such-mask.png"},
    ],
    ids=str,
)
def test_what_cannot_be_done_leaves_nothing(
    painted_slide: Path, tiny_model: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(HypergeneError) as error:
        wanted = PredictOptions(**{"model": str(tiny_model), **options})
        predict_to_file(painted_slide, tmp_path / "deep" / "out", wanted)
    assert "\n" not in error.value.message
    assert list(tmp_path.iterdir()) == []


# Several slides


def test_the_model_is_loaded_once_for_all_slides_and_again_when_it_changed(
    painted_slide: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Path] = []
    load = plan.load_model
    monkeypatch.setattr(plan, "load_model", lambda *a, **k: loads.append(a[0]) or load(*a, **k))
    plan._loaded.cache_clear()
    model = tmp_path / "model"
    model.mkdir()
    for file in tiny_model.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    first = predict(painted_slide, model=model, genes="KRT8")
    predict(painted_slide, model=model, genes="KRT8")
    assert len(loads) == 1
    config = json.loads((model / "config.json").read_text())
    config["provenance"]["revision"] = "2"
    (model / "config.json").write_text(json.dumps(config))
    second = predict(painted_slide, model=model, genes="KRT8")
    assert len(loads) == 2
    revisions = [adata.uns["hypergene"]["model"]["revision"] for adata in (first, second)]
    assert revisions == ["1", "2"]


def test_reliability_at_coarser_scales_travels_too(
    painted_slide: Path, tiny_model: Path, tmp_path: Path
) -> None:
    model = load_model(tiny_model)
    kept = model.add_held_out(
        HeldOutConfig(
            interval="spot-block", units=9, calibration="none", scales=("1 ring", "2 rings")
        )
    )
    assert kept.coarse is not None and kept.modules_at is not None
    model.ceiling_pcc.fill_(0.9)
    kept.low.fill_(0.0)
    for name, values in (("pearson", [0.5, 0.6]), ("low", [0.0, 0.4]), ("ceiling", [0.9, 0.9])):
        getattr(kept.coarse, name).copy_(torch.tensor(values)[:, None])
    kept.low[0], model.heldout_pcc[0] = 0.4, 0.6
    kept.coarse.low[0, 1], kept.coarse.low[1, 2] = 0.35, 0.05
    folder = tmp_path / "scales"
    folder.mkdir()
    write_model(folder, model, "# scales\n")
    genes = read_config(tiny_model).genes
    told = predict(painted_slide, model=str(folder), genes=genes[:4]).var
    assert told["readable_at"].tolist() == ["spot", "1 ring", "none", "2 rings"]
    assert told["heldout_pcc_1_ring"].tolist() == pytest.approx([0.5] * 4)
    assert told["heldout_low_2_rings"].tolist() == pytest.approx([0.4, 0.4, 0.05, 0.4])
    assert {"heldout_high_1_ring", "ceiling_pcc_2_rings"} <= set(told)


def test_reliability_travels_from_the_model_folder_to_every_prediction(
    painted_slide: Path, tiny_model: Path, tmp_path: Path
) -> None:
    model = load_model(tiny_model)
    kept = model.add_held_out(
        HeldOutConfig(interval="patient", units=4, calibration="conformal by patient (4 patients)")
    )
    kept.low.copy_(model.heldout_pcc - 0.2)
    kept.high.copy_(model.heldout_pcc + 0.1)
    kept.low[0] = float("nan")
    folder = tmp_path / "reliable"
    folder.mkdir()
    write_model(folder, model, "# reliable\n")
    plain, told = (
        predict(painted_slide, model=str(name), genes=read_config(tiny_model).genes[::-1])
        for name in (tiny_model, folder)
    )
    assert plain.X.tobytes() == told.X.tobytes()
    assert plain.layers["std"].tobytes() == told.layers["std"].tobytes()
    assert set(told.var) - set(plain.var) == {
        *("heldout_low", "heldout_high", "coverage_80", "reliability")
    }
    np.testing.assert_allclose(told.var["heldout_high"], told.var["heldout_pcc"] + 0.1, rtol=1e-5)
    classes = told.var["reliability"].astype(str)
    assert classes.iloc[-1] == "refuse", "its interval is not known"
    assert classes.iloc[0] == "A"
    assert set(classes) == {"A", "B", "C", "refuse"}
    assert told.uns["hypergene"]["calibration"] == "conformal by patient (4 patients)"
    assert plain.uns["hypergene"]["calibration"] == "empirical, spot-level"


# Blocks, precisions, memory


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("format", ["zarr", "h5ad"])
def test_the_file_holds_what_is_returned_in_memory(
    painted_slide: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format: Any,
    dtype: Any,
) -> None:
    monkeypatch.setattr(readout, "SPOTS_PER_BLOCK", 7)
    options = PredictOptions(model=str(tiny_model), format=format, dtype=dtype)
    outcome = predict_to_file(painted_slide, tmp_path, options)
    assert [path.name for path in tmp_path.iterdir()] == [f"painted.{format}"]
    read = anndata.read_zarr if format == "zarr" else anndata.read_h5ad
    written, returned = read(outcome.output), predict(painted_slide, options)
    assert written.X.dtype == returned.X.dtype == np.dtype(dtype)
    assert np.array_equal(written.X, returned.X)
    assert np.array_equal(written.layers["std"], returned.layers["std"])
    assert np.array_equal(written.obsm["X_hypergene"], returned.obsm["X_hypergene"])
    pd.testing.assert_frame_equal(written.obs, returned.obs)


def test_half_precision_keeps_three_digits(
    painted_slide: Path, tiny_model: Path, prediction: AnnData
) -> None:
    half = predict(painted_slide, model=str(tiny_model), dtype="float16")
    np.testing.assert_allclose(half.X, prediction.X, rtol=5e-4, atol=1e-6)
    np.testing.assert_allclose(half.layers["std"], prediction.layers["std"], rtol=5e-4)


def test_genes_that_are_not_asked_for_are_not_computed(
    painted_slide: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []
    product = torch.addmm

    def remember(*arguments: torch.Tensor) -> torch.Tensor:
        result = product(*arguments)
        widths.append(result.shape[1])
        return result

    monkeypatch.setattr(torch, "addmm", remember)
    predict(painted_slide, model=str(tiny_model), genes=("KRT8", "VIM", "B2M"))
    assert widths and set(widths) == {3}


def test_a_block_reads_the_features_of_its_spots_and_of_its_rim_alone(
    painted_slide: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    get = FeatureFile.__getitem__

    def remember(table: FeatureFile, rows: Any) -> NDArray[np.float32]:
        found = get(table, rows)
        read.append(len(found))
        return found

    monkeypatch.setattr(FeatureFile, "__getitem__", remember)
    spot = coords(tmp_path / "spot.csv", np.array([[100.0, 100.0]]))
    options = PredictOptions(model=str(tiny_model), coords=spot, tissue="none")
    outcome = predict_to_file(painted_slide, tmp_path / "out", options)
    assert outcome.spots == 1
    context, own, rim = read
    # The outer ring is 650 µm wide and centres of the lattice lie 200 µm apart, from 100 µm on.
    centres = np.stack(np.meshgrid(np.arange(100, 1200, 200), np.arange(100, 1200, 200)), -1)
    assert (context, own) == (36, 1)
    assert rim == (np.hypot(*(centres - 100).reshape(-1, 2).T) <= 650).sum() < 36


def test_no_room_for_the_features_is_a_sentence_about_the_output(
    painted_slide: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OutputError, match=r"painted\.zarr cannot be written \(No space left"):
        predict_to_file(painted_slide, tmp_path / "out", PredictOptions(model=str(tiny_model)))
    assert list(tmp_path.iterdir()) == []
