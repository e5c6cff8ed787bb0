"""Figures of a prediction, from a file or from memory."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from PIL import Image

import hypergene
from hypergene.errors import DataError, HypergeneError, OutputError, UsageError
from hypergene.output import PredictionFile
from hypergene.pipeline.plot import plot, plot_to_file
from hypergene.pipeline.predict import predict_to_file


@pytest.fixture(scope="module")
def prediction(
    painted_slide: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("predicted")
    outcome = predict_to_file(painted_slide, out, model=str(tiny_model), layout="visium")
    assert outcome.output is not None
    return outcome.output


@pytest.fixture
def adata(prediction: Path) -> AnnData:
    from hypergene.output import open_prediction

    return open_prediction(prediction).read()


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def spots(figure: Figure, panel: int = 0) -> Collection:
    return figure.axes[panel].collections[-1]


def pixels(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    return np.asarray(Image.open(buffer).convert("RGB"))


def test_the_most_reliable_genes_are_drawn_with_what_is_known_of_them(prediction: Path) -> None:
    figure = plot(prediction)
    assert titles(figure) == [
        "B2M  (held-out r = 0.80)",
        "MALAT1  (held-out r = 0.75)",
        "GAPDH  (held-out r = 0.71)",
        "ACTB  (held-out r = 0.66)",
    ]
    assert figure.get_supxlabel().startswith("Predicted from the picture by tiny, not measured.")
    assert figure.get_suptitle() == "painted.tiff"
    labels = [axes.get_ylabel().replace("\n", " ") for axes in figure.axes[4:]]
    assert all("predicted ln(1 + counts per 10,000)" in label for label in labels)


def test_a_verdict_that_is_not_ok_is_on_the_figure(adata: AnnData) -> None:
    for verdict, said in (("refuse", "verdict: refuse."), ("ok", "not measured.")):
        adata.uns["hypergene"]["card"]["verdict"] = verdict
        assert plot(adata, "DCN").get_supxlabel().endswith(said)


def test_the_values_are_those_of_the_prediction(prediction: Path, adata: AnnData) -> None:
    figure = plot(prediction, "DCN", "ood_score")
    assert np.array_equal(spots(figure, 0).get_array(), adata[:, "DCN"].X.ravel())
    assert np.allclose(spots(figure, 1).get_array(), adata.obs["ood_score"])
    assert spots(figure, 1).get_clim() == (0, 1)
    spread = plot(prediction, "genes", genes=["KRT8"], layer="std")
    assert np.array_equal(spots(spread).get_array(), adata[:, "KRT8"].layers["std"].ravel())
    assert "standard deviation" in spread.axes[1].get_ylabel().replace("\n", " ")


def test_a_file_and_its_table_in_memory_look_the_same(prediction: Path, adata: AnnData) -> None:
    what = ("DCN", "radius", "embedding")
    assert np.array_equal(pixels(plot(adata, *what)), pixels(plot(prediction, *what)))


def test_only_the_wanted_genes_are_read(prediction: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    read = PredictionFile.read

    def noted(self: PredictionFile, genes: Any, layers: Any) -> AnnData:
        asked.append((list(genes), tuple(layers)))
        return read(self, genes, layers=layers)

    monkeypatch.setattr(PredictionFile, "read", noted)
    plot(prediction, "radius", "embedding", color="DCN")
    plot(prediction, "LUM", layer="std")
    assert asked == [(["DCN"], ()), (["LUM"], ("std",))]


def test_without_the_image_no_pixel_of_the_slide_is_drawn(prediction: Path) -> None:
    assert plot(prediction, "DCN").axes[0].images
    assert not plot(prediction, "DCN", image=False).axes[0].images


def test_archetypes_have_a_colour_and_a_share_each(adata: AnnData) -> None:
    with pytest.raises(UsageError, match="tiny has no archetypes") as error:
        plot(adata, "archetypes")
    assert "geometry.archetypes" in (error.value.hint or "")
    numbers = np.arange(adata.n_obs) % 10
    adata.obs["archetype"] = pd.Categorical(numbers.astype(str), [str(k) for k in range(10)])
    figure = plot(adata, "archetypes", "embedding")
    legend = figure.axes[0].get_legend()
    assert legend is not None
    named = [text.get_text() for text in legend.get_texts()]
    assert len(named) == 9 and named[-1].startswith("others (")
    colours = spots(figure).get_facecolors()
    assert len(np.unique(colours[numbers < 8], axis=0)) == 8
    assert len(np.unique(colours[numbers >= 8], axis=0)) == 1
    assert figure.axes[1].get_legend() is not None, "the embedding is coloured by archetypes"


def test_unknown_values_are_grey_and_decide_no_scale(adata: AnnData) -> None:
    adata.obs["focus"] = np.linspace(1, 2, adata.n_obs)
    adata.obs.loc[adata.obs_names[0], "focus"] = np.nan
    shown = spots(plot(adata, "focus"))
    assert shown.get_array().mask[0]
    low, high = shown.get_clim()
    assert 1 < low < high < 2


def test_without_a_name_it_stands_beside_the_prediction(prediction: Path) -> None:
    made = [plot_to_file(prediction, what, dpi=30) for what in ([], ["DCN"], ["DCN", "radius"])]
    assert [path.name for path in made] == [
        "painted.genes.png", "painted.DCN.png", "painted.figure.png",
    ]  # fmt: skip
    assert {path.parent for path in made} == {prediction.parent}


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_a_figure_is_written_whole_and_alike_each_time(
    prediction: Path, tmp_path: Path, kind: str
) -> None:
    one, two = (
        plot_to_file(prediction, ["DCN"], tmp_path / f"{name}.{kind}", dpi=50) for name in "ab"
    )
    assert one.read_bytes() == two.read_bytes()
    head = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[kind]
    assert one.read_bytes().startswith(head)
    with pytest.raises(OutputError):
        plot_to_file(prediction, ["DCN"], one)


def test_many_spots_are_a_picture_in_a_vector_file(adata: AnnData, tmp_path: Path) -> None:
    times = -(-6000 // adata.n_obs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many = AnnData(
            np.tile(adata.X, (times, 1)), obs=pd.concat([adata.obs] * times), var=adata.var,
            obsm={key: np.tile(value, (times, 1)) for key, value in adata.obsm.items()},
            uns=adata.uns,
        )  # fmt: skip
    figure = plot(many, "DCN", "embedding", image=False)
    figure.savefig(tmp_path / "many.svg")
    assert (tmp_path / "many.svg").stat().st_size < 500_000
    assert "<image" in (tmp_path / "many.svg").read_text()


def test_what_makes_no_sense_is_one_sentence(prediction: Path, tmp_path: Path) -> None:
    cases: dict[str, Callable[[], Any]] = {
        "NOGENE": lambda: plot(prediction, "NOGENE"),
        "DCM": lambda: plot(prediction, genes="DCM"),
        "krt9": lambda: plot(prediction, "krt9"),
        "nothing": lambda: plot(prediction, "embedding", color="nothing"),
        "layer": lambda: plot(prediction, layer="mode"),  # type: ignore[arg-type]
        "gif": lambda: plot_to_file(prediction, out=tmp_path / "a.gif"),
        "There is no file": lambda: plot(tmp_path / "gone.zarr"),
        "gene=": lambda: plot(prediction, gene="DCN"),  # type: ignore[call-arg]
        "No gene": lambda: plot(prediction, genes=()),
    }
    for said, case in cases.items():
        with pytest.raises(HypergeneError, match=said) as error:
            case()
        assert error.value.hint
    with pytest.raises(DataError, match="no prediction"):
        plot(AnnData(np.zeros((3, 2))))
    with pytest.raises(UsageError, match="DCM") as wrong:
        plot(prediction, "DCM")
    assert "DCN" in (wrong.value.hint or "")
    with pytest.raises(UsageError) as wrong:
        plot(prediction, "krt8")
    assert "KRT8" in (wrong.value.hint or "")


def test_too_many_panels_are_refused(adata: AnnData) -> None:
    with pytest.raises(UsageError, match="too many"):
        plot(adata, *adata.var_names, *adata.obs, "embedding", "genes",
             genes=tuple(adata.var_names) * 2)  # fmt: skip


def test_from_the_command_line(prediction: Path, tmp_path: Path, run_cli: Any) -> None:
    done = run_cli(
        "plot", prediction, "DCN", "radius", "-o", tmp_path / "a.png", "--no-image", "--dpi", 50,
        "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "prediction": str(prediction), "output": str(tmp_path / "a.png"),
    }  # fmt: skip
    wrong = run_cli("plot", prediction, "archetypes")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "has no archetypes" in wrong.stderr


def test_the_public_name(prediction: Path) -> None:
    assert len(hypergene.plot(prediction, "DCN", title="Mine").axes) == 2
