"""Archetypes in a prediction: whose tissue a spot is most like, and how far it is from all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import torch
from anndata import AnnData

from hypergene.hyperbolic import exp0
from hypergene.model.network import HyperGene
from hypergene.output import write_anndata
from hypergene.pipeline.predict import PredictOptions, predict, predict_to_file
from hypergene.training.archetypes import place_archetypes
from hypergene.zoo import load_model, write_model

COUNT = 3


def variant(source: HyperGene, folder: Path, **geometry: Any) -> HyperGene:
    """The same model with another geometry, written to a folder."""
    changed = source.config.geometry.model_copy(update=geometry)
    made = HyperGene(source.config.model_copy(update={"geometry": changed})).eval()
    made.load_state_dict(source.state_dict(), strict=False)
    folder.mkdir(exist_ok=True)
    write_model(folder, made, "# tiny\n")
    return made


@pytest.fixture(scope="module", params=["lorentz", "euclidean"])
def folders(
    request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Where the models of one geometry lie: ``plain``, and ``states`` with archetypes."""
    folder = tmp_path_factory.mktemp(request.param)
    variant(load_model(tiny_model), folder / "plain", kind=request.param)
    return folder


@pytest.fixture(scope="module")
def plain(painted_slide: Path, folders: Path) -> AnnData:
    """What the model without archetypes predicts."""
    return predict(painted_slide, model=str(folders / "plain"))


@pytest.fixture(scope="module")
def model(folders: Path, plain: AnnData) -> Path:
    """The model with archetypes among the spots of the painted slide."""
    source, folder = load_model(folders / "plain"), folders / "states"
    made = variant(source, folder, archetypes=COUNT)
    assert made.archetypes is not None
    points = torch.from_numpy(plain.obsm["X_hypergene"])
    scaled = made.archetypes.scaled(points, made.space.curvature)
    scores = torch.randn(len(points), source.config.head.modules)
    place_archetypes(made.archetypes, scaled, scores, 0)
    write_model(folder, made, "# tiny\n")
    return folder


@pytest.fixture(scope="module")
def prediction(painted_slide: Path, model: Path) -> AnnData:
    return predict(painted_slide, model=str(model))


def test_spots_are_likened_to_archetypes(prediction: AnnData) -> None:
    obs = prediction.obs
    weights = obs[[f"archetype_{k}" for k in range(COUNT)]]
    assert (weights.dtypes == np.float32).all()
    assert ((weights >= 0) & (weights <= 1)).all(axis=None)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert list(obs["archetype"].cat.categories) == ["0", "1", "2"]
    assert (obs["archetype"].astype(int) == weights.to_numpy().argmax(1)).all()
    assert obs["archetype"].nunique() == COUNT, "spots of all kinds are on the slide"


def test_the_assignment_is_that_of_the_embedding(prediction: AnnData, model: Path) -> None:
    loaded = load_model(model)
    assert loaded.archetypes is not None
    points = torch.from_numpy(prediction.obsm["X_hypergene"])
    with torch.inference_mode():
        expected = loaded.archetypes(points, loaded.space.curvature)
    found = prediction.obs[[f"archetype_{k}" for k in range(COUNT)]].to_numpy()
    np.testing.assert_allclose(found, expected.weights.numpy(), atol=1e-6)


def test_far_spots_stand_out(prediction: AnnData, model: Path) -> None:
    """The archetypes were placed on the spots of this very slide: its percentiles are even."""
    percentile = prediction.obs["archetype_ood"]
    assert percentile.dtype == np.float32 and percentile.between(0, 1).all()
    assert percentile.mean() == pytest.approx(0.5, abs=0.05)
    archetypes = load_model(model).archetypes
    assert archetypes is not None
    far = archetypes(exp0(torch.full((1, 8), 1.5), 1.0), torch.tensor(1.0))
    assert archetypes.percentile(far.nearest) == 1


def test_nothing_else_of_the_prediction_changes(prediction: AnnData, plain: AnnData) -> None:
    np.testing.assert_array_equal(prediction.X, plain.X)
    assert list(prediction.obs.columns[: len(plain.obs.columns)]) == list(plain.obs.columns)
    assert not [name for name in plain.obs.columns if name.startswith("archetype")]


@pytest.mark.parametrize("format", ["zarr", "h5ad"])
def test_they_are_written_and_read(
    painted_slide: Path, model: Path, prediction: AnnData, tmp_path: Path, format: Any
) -> None:
    options = PredictOptions(model=str(model), format=format, genes=("ERBB2",))
    outcome = predict_to_file(painted_slide, tmp_path, options)
    assert outcome.output is not None
    read = anndata.read_zarr if format == "zarr" else anndata.read_h5ad
    obs = read(outcome.output).obs
    assert list(obs["archetype"].cat.categories) == ["0", "1", "2"]
    assert list(obs["archetype"]) == list(prediction.obs["archetype"])
    np.testing.assert_array_equal(obs["archetype_ood"], prediction.obs["archetype_ood"])


def test_an_archetype_without_spots_keeps_its_place(prediction: AnnData, tmp_path: Path) -> None:
    some = prediction[prediction.obs["archetype"] != "0"].copy()
    some.obs["archetype"] = some.obs["archetype"].cat.set_categories(["0", "1", "2"])
    write_anndata(some, tmp_path / "some.zarr")
    kept = anndata.read_zarr(tmp_path / "some.zarr").obs["archetype"]
    assert list(kept.cat.categories) == ["0", "1", "2"]


def test_scanpy_and_squidpy_draw_them(prediction: AnnData) -> None:
    scanpy = pytest.importorskip("scanpy")
    squidpy = pytest.importorskip("squidpy")
    from matplotlib import pyplot

    adata = prediction.copy()
    axes = scanpy.pl.embedding(adata, basis="spatial", color="archetype", show=False)
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["0", "1", "2"]
    axes = squidpy.pl.spatial_scatter(adata, color=["archetype", "archetype_ood"], return_ax=True)
    assert len(axes) == 2
    pyplot.close("all")
