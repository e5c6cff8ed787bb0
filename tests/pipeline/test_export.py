"""``hypergene export``: one command, six forms, and one sentence for what cannot be."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
from tiny.prediction import ODD_GENES, tiny_prediction, write_tiny_prediction

import hypergene
from hypergene.errors import DataError, OutputError, UsageError
from hypergene.output import open_prediction, write_anndata
from hypergene.pipeline.export import ExportFormat, ExportOptions, export

FORMATS = get_args(ExportFormat)
NAMES = {
    "spatialdata": "slide.sdata.zarr",
    "geojson": "slide.predicted.geojson",
    "csv": "slide.csv",
    "parquet": "slide.parquet",
    "ome-tiff": "slide.predicted.ome.tif",
    "vitessce": "slide.vitessce",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny prediction by its format."""
    folder = tmp_path_factory.mktemp("written")
    return {
        "zarr": write_tiny_prediction(folder, layout="st"),
        "h5ad": write_tiny_prediction(folder, layout="st", format="h5ad"),
    }


@pytest.fixture
def prediction(written: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the one in Zarr, alone in its folder."""
    return Path(shutil.copytree(written["zarr"], tmp_path / "slide.zarr"))


@pytest.mark.parametrize("to", FORMATS)
def test_it_stands_beside_the_prediction_under_its_own_name(prediction: Path, to: Any) -> None:
    done = export(prediction, to)
    assert done.output == prediction.with_name(NAMES[to])
    assert done.output.exists()
    assert (done.spots, done.genes) == (len(tiny_prediction(layout="st")), len(ODD_GENES))


@pytest.mark.parametrize("to", FORMATS)
def test_of_an_h5ad_prediction_too(written: Any, tmp_path: Path, to: Any) -> None:
    done = export(written["h5ad"], to, tmp_path, genes=("ABC", "Abc"))
    assert done.output == tmp_path / NAMES[to]
    assert done.genes == 2


@pytest.mark.parametrize("to", FORMATS)
def test_what_stands_there_needs_overwrite(prediction: Path, to: Any) -> None:
    first = export(prediction, to, genes=("ABC",)).output
    with pytest.raises(OutputError, match="exists already"):
        export(prediction, to, first)
    again = export(prediction, to, first, genes=("Abc", "ABC"), overwrite=True)
    assert (again.output, again.genes) == (first, 2)
    assert not list(prediction.parent.glob(".*"))


@pytest.mark.parametrize("to", FORMATS)
def test_into_a_folder_it_goes_under_the_same_name(prediction: Path, to: Any) -> None:
    (prediction.parent / "out").mkdir()
    (prediction.parent / "out" / "notes.txt").write_text("mine")
    done = export(prediction, to, prediction.parent / "out", genes=("ABC",))
    assert done.output == prediction.parent / "out" / NAMES[to]
    assert (prediction.parent / "out" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("to", FORMATS)
def test_the_prediction_itself_is_never_written_over(prediction: Path, to: Any) -> None:
    with pytest.raises(UsageError, match="is the prediction itself"):
        export(prediction, to, prediction, overwrite=True)


def test_nothing_is_put_into_another_store(prediction: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(prediction, tmp_path / "other.zarr"))
    with pytest.raises(OutputError, match="exists already"):
        export(prediction, "csv", other)
    with pytest.raises(OutputError, match="is a folder and the output is a file"):
        export(prediction, "csv", other, overwrite=True)
    assert not (other / "slide.csv").exists()


@pytest.mark.parametrize("to", FORMATS)
def test_a_damaged_prediction_leaves_nothing(prediction: Path, to: Any) -> None:
    (prediction / "X" / "c" / "0" / "0").write_bytes(b"noise")
    before = sorted(prediction.parent.iterdir())
    with pytest.raises(DataError, match=r"slide\.zarr"):
        export(prediction, to)
    assert sorted(prediction.parent.iterdir()) == before


def test_genes_are_those_named_in_that_order(prediction: Path) -> None:
    done = export(prediction, "csv", genes=("nan", "HLA-A/B"), spread=False)
    assert done.output is not None
    assert list(pd.read_csv(done.output).columns[-2:]) == ["nan", "HLA-A/B"]


def test_most_genes_are_those_best_predicted_and_that_is_said(
    prediction: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="hypergene"):
        done = export(prediction, "csv", max_genes=3, spread=False)
    assert done.output is not None
    # heldout_pcc rises along the genes.
    best = list(reversed(ODD_GENES))[:3]
    assert list(pd.read_csv(done.output).columns[-3:])[:1] == best[:1]
    assert done.genes == 3
    assert "3 of 10 genes that were predicted best" in caplog.text


@pytest.mark.parametrize("to", ["geojson", "ome-tiff"])
def test_readers_that_hold_all_in_memory_get_fifty_genes_unless_told(
    tmp_path: Path, to: Any
) -> None:
    genes = [f"G{number}" for number in range(60)]
    prediction = write_tiny_prediction(tmp_path, genes, layout="st")
    assert export(prediction, to).genes == 50
    assert export(prediction, to, max_genes=60, overwrite=True).genes == 60


@pytest.mark.parametrize(
    ("to", "options", "said"),
    [
        ("png", {}, "no export format 'png'"),
        ("csv", {"genes": ("NONE",)}, "no prediction of NONE"),
        ("csv", {"genes": ("ABC", "ABC")}, "twice"),
        ("csv", {"genes": ("ABC",), "max_genes": 2}, "exclude each other"),
        ("csv", {"max_genes": 0}, "leaves no gene"),
        ("csv", {"slide": Path("slide.svs")}, "--slide has no meaning"),
        ("csv", {"pixel_um": 2.0}, "--pixel-um has no meaning"),
        ("spatialdata", {"pixel_um": 2.0}, "without --slide"),
        ("vitessce", {"spread": True}, "no place for the spread"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(
    prediction: Path, to: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as error:
        export(prediction, to, options=ExportOptions(**options))
    assert error.value.hint
    assert list(prediction.parent.iterdir()) == [prediction]


def test_without_a_record_of_reliability_genes_must_be_named(tmp_path: Path) -> None:
    adata = tiny_prediction(layout="st")
    del adata.var["heldout_pcc"]
    write_anndata(adata, tmp_path / "p.zarr")
    with pytest.raises(UsageError, match="does not say which"):
        export(tmp_path / "p.zarr", "csv", max_genes=3)
    assert export(tmp_path / "p.zarr", "csv").genes == len(ODD_GENES)


def test_a_prediction_without_spread_is_exported_without(tmp_path: Path) -> None:
    adata = tiny_prediction(layout="st")
    del adata.layers["std"]
    write_anndata(adata, tmp_path / "p.zarr")
    done = export(tmp_path / "p.zarr", "csv")
    assert done.output is not None
    assert not [name for name in pd.read_csv(done.output) if name.endswith("_std")]


def test_another_slide_than_the_predicted_one_is_refused(
    prediction: Path, painted_slide: Path
) -> None:
    with pytest.raises(DataError, match="is not the slide of") as error:
        export(prediction, "spatialdata", slide=painted_slide)
    assert "slide.svs" in str(error.value.hint)


def test_a_slide_becomes_an_image_of_the_store(tmp_path: Path, painted_slide: Path) -> None:
    import numpy as np
    import spatialdata

    prediction = write_tiny_prediction(tmp_path, size_px=(1200, 1200), mpp=(1.0, 1.0))
    done = export(prediction, "spatialdata", slide=painted_slide, genes=("ABC",))
    image = spatialdata.read_zarr(done.output).images["wsi"]["scale0"].image
    with hypergene.open_slide(painted_slide) as slide:
        expected = slide.read(300, 200, 100, 80)
    found = np.moveaxis(image.values[:, 200:280, 300:400], 0, -1)
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)


def test_the_command_prints_what_it_wrote(prediction: Path, run_cli: Any) -> None:
    done = run_cli("export", prediction, "--to", "csv", "--genes", "ABC", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["output"] == str(prediction.with_name("slide.csv"))
    assert (said["genes"], said["error"]) == (1, None)


def test_the_command_refuses_what_is_no_prediction(tmp_path: Path, run_cli: Any) -> None:
    done = run_cli("export", tmp_path / "none.zarr", "--to", "csv")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "There is no file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_real_prediction_is_exported_in_every_form(
    tmp_path: Path, painted_slide: Path, tiny_model: Path
) -> None:
    from hypergene.pipeline.predict import PredictOptions, predict_to_file

    made = predict_to_file(painted_slide, tmp_path, PredictOptions(model=str(tiny_model)))
    assert made.output is not None
    genes = open_prediction(made.output).genes[:3]
    for to in FORMATS:
        done = export(made.output, to, genes=genes)
        assert done.output is not None and done.output.exists()
        assert (done.spots, done.genes) == (made.spots, 3)
