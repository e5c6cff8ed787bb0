from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from hypergene.errors import TissueError
from hypergene.output import read_anndata
from hypergene.pipeline.predict import PredictOptions, predict_to_file
from hypergene.pipeline.tile import tile

COLUMNS = ["focus", "pen", "saturation", "brightness"]


@pytest.fixture
def marked(painted_slide: Path, tmp_path: Path) -> Path:
    """The painted slide with a stroke of green ink, 60 µm wide, along y = 500 px."""
    with Image.open(painted_slide) as picture:
        pixels = picture.convert("RGB")
    ImageDraw.Draw(pixels).line([(0, 500), (1200, 500)], fill=(30, 140, 70), width=60)
    pixels.save(tmp_path / "marked.png")
    return tmp_path / "marked.png"


def test_tile_writes_quality_into_obs_and_a_picture(marked: Path, tmp_path: Path) -> None:
    outcome = tile(marked, tmp_path / "out", mpp=1.0, tissue="none", layout="st", qc=True)
    adata = read_anndata(outcome.output)
    assert list(adata.obs)[-4:] == COLUMNS
    assert adata.obs["pen"].dtype == bool
    for name in ("focus", "saturation", "brightness"):
        assert adata.obs[name].dtype == np.float32 and adata.obs[name].notna().all()
    from_ink = np.abs(adata.obsm["spatial"][:, 1] - 500)
    assert adata.obs["pen"][from_ink < 50].all() and not adata.obs["pen"][from_ink > 100].any()
    assert adata.obs["pen"].any()
    assert any("under ink" in warning for warning in outcome.warnings)
    with Image.open(tmp_path / "out" / "marked.qc.png") as picture:
        assert min(picture.size) > 500


def test_without_qc_there_is_none(painted_slide: Path, tmp_path: Path) -> None:
    outcome = tile(painted_slide, tmp_path / "out")
    assert not set(COLUMNS) & set(read_anndata(outcome.output).obs)
    assert not list((tmp_path / "out").glob("*.qc.png"))


def test_predict_measures_the_same_and_predicts_the_same(
    painted_slide: Path, tiny_model: Path, tmp_path: Path
) -> None:
    options = PredictOptions(model=str(tiny_model), layout="st", device="cpu", qc=True)
    with_qc = read_anndata(predict_to_file(painted_slide, tmp_path / "qc", options).output)
    tiled = read_anndata(tile(painted_slide, tmp_path / "tile", layout="st", qc=True).output)
    for name in COLUMNS:
        np.testing.assert_array_equal(with_qc.obs[name], tiled.obs[name])
    assert (tmp_path / "qc" / "painted.qc.png").is_file()
    plain = PredictOptions(model=str(tiny_model), layout="st", device="cpu")
    without = read_anndata(predict_to_file(painted_slide, tmp_path / "plain", plain).output)
    np.testing.assert_array_equal(with_qc.X, without.X)
    assert not (tmp_path / "plain" / "painted.qc.png").exists()


def test_polygons_and_plugins_place_spots(
    painted_slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = [[0, 0], [600, 0], [600, 1200], [0, 1200]]
    drawn = tmp_path / "drawn.geojson"
    drawn.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    about = tmp_path / "site" / "made-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: made\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[hypergene.tissue]\nhalf = made_half:half\n")
    (tmp_path / "site" / "made_half.py").write_text(
        "import numpy as np\n"
        "def half(slide):\n"
        "    width, height = slide.dimensions\n"
        "    return np.broadcast_to(np.arange(width) < 600, (height, width))\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    by_polygon = tile(painted_slide, tmp_path / "polygon", tissue=str(drawn))
    by_plugin = tile(painted_slide, tmp_path / "plugin", tissue="half")
    first, second = read_anndata(by_polygon.output), read_anndata(by_plugin.output)
    assert list(first.obs_names) == list(second.obs_names) and first.n_obs > 10
    assert first.obsm["spatial"][:, 0].max() < 630
    assert second.uns["hypergene"]["tissue"] == "half"
    assert first.uns["hypergene"]["tissue"] == str(drawn)


def test_a_name_that_is_no_plugin_is_refused_with_those_there_are(
    painted_slide: Path, tmp_path: Path
) -> None:
    with pytest.raises(TissueError, match="grandqc is no file and no tissue plugin") as caught:
        tile(painted_slide, tmp_path, tissue="grandqc")
    assert "auto, none" in str(caught.value.hint)
