"""Training runs with parts that the default recipe leaves off, from the sheet to the prediction."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from safetensors.numpy import load_file

from hypergene.errors import UsageError
from hypergene.pipeline.finetune import finetune
from hypergene.pipeline.predict import predict
from hypergene.st import read_samples
from hypergene.zoo import read_config

EVERYTHING = (
    "train.encoder=frozen",
    "geometry.archetypes=3",
    "geometry.start=unit",
    "readout.kernel=hyperbolic",
    "readout.inducing=16",
    "readout.gallery=16",
    "readout.anchor=true",
    "loss.guard=true",
    "loss.relative.weight=0.1",
    "loss.clusters.weight=0.1",
    "loss.clusters.number=2",
)


def test_a_run_with_every_part_predicts_and_says_what_it_has(
    tiny_cohort: Any, tiny_recipe: Path, tmp_path: Path
) -> None:
    model = finetune(
        tiny_cohort.sheet, tmp_path / "all", recipe=tiny_recipe, set=EVERYTHING, device="cpu"
    )
    config = read_config(model)
    assert config.readout.kernel == "hyperbolic" and config.readout.anchor
    slide = read_samples(tiny_cohort.sheet)[0].slide
    adata = predict(slide, model=model, device="cpu", mpp=4.0)
    shares = adata.obs[[f"archetype_{k}" for k in range(3)]].to_numpy()
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    assert set(adata.obs["archetype"].cat.categories) == {"0", "1", "2"}
    table = pd.read_csv(model / "archetypes.csv", index_col=0)
    assert table.shape == (len(config.genes), 3)
    course = pd.read_csv(tmp_path / "all" / "metrics.csv")
    terms = {"regression", "relative", "clusters"}
    assert {f"loss/{name}" for name in terms} <= set(course)
    assert course["conflict_rate"].between(0, 1).all()
    assert (tmp_path / "all" / "hierarchy.png").stat().st_size > 10_000


def test_another_preset_is_another_model(
    tiny_cohort: Any, tiny_recipe: Path, tmp_path: Path
) -> None:
    model = finetune(
        tiny_cohort.sheet, tmp_path / "nh", preset="nh2st", recipe=tiny_recipe, device="cpu"
    )
    config = read_config(model)
    assert (config.niche.reader, config.geometry.kind) == ("attention", "euclidean")
    assert "reader.query.weight" in load_file(model / "model.safetensors")
    course = pd.read_csv(tmp_path / "nh" / "metrics.csv")
    assert "loss/pairs" in course and "loss/hca" not in course


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (("niche.source=crop", "encoder.tile_um=[112.0]"), "needs two crop widths"),
        (("niche.reader=attention", "niche.neighbours=3"), "at least 4, the nearest of a square"),
        (("geometry.kind=euclidean", "readout.kernel=hyperbolic"), "need geometry.kind"),
        (("readout.anchor=true",), "needs train.encoder = 'frozen'"),
        (("readout.gallery=8", "readout.ridge=false"), "ridge cannot be off"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused_in_a_sentence(
    tiny_cohort: Any, tiny_recipe: Path, tmp_path: Path, settings: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        finetune(tiny_cohort.sheet, tmp_path / "no", recipe=tiny_recipe, set=settings)


def test_the_course_can_be_watched_in_tensorboard(
    tiny_cohort: Any, tiny_recipe: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    out = tmp_path / "watched"
    finetune(tiny_cohort.sheet, out, recipe=tiny_recipe, device="cpu", epochs=2, tensorboard=True)
    phases = {path.parent.name for path in out.glob("tensorboard/*/events.out.*")}
    assert phases == {"select", "refit"}


def test_two_processes_train_one_model_and_one_of_them_speaks(
    tiny_cohort: Any, tiny_recipe: Path, tmp_path: Path
) -> None:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "hypergene", "finetune", str(tiny_cohort.sheet), "--recipe", str(tiny_recipe)),
        *("--out", str(tmp_path / "both"), "--device", "cpu", "--epochs", "2"),
    ]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "both" / "model")]
    assert done.stderr.count("train: ") == 1
    slide, model = read_samples(tiny_cohort.sheet)[0].slide, tmp_path / "both" / "model"
    assert predict(slide, model=model, device="cpu", mpp=4.0).n_obs
