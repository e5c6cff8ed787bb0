from __future__ import annotations

from pathlib import Path

import pytest

from hypergene.errors import UsageError
from hypergene.training.recipe import load_recipe


def test_the_default_recipe_trains_a_small_encoder_on_spot_and_surroundings() -> None:
    recipe = load_recipe()
    assert recipe.encoder.tile_um == (112.0, 300.0)
    assert recipe.train.encoder == "train"
    assert recipe.geometry.kind == "lorentz"


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[train]\nlr = 0.5\n")
    recipe, default = load_recipe(path), load_recipe()
    assert recipe.train.lr == 0.5
    assert recipe.train.epochs == default.train.epochs
    assert recipe.loss == default.loss


def test_another_encoder_does_not_inherit_the_arguments_of_the_default_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[encoder]\nname = "vit_tiny_patch16_224"\narguments = {}\n')
    assert load_recipe(path).encoder.arguments == {}


def test_an_override_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[loss.hea]\nweight = 0.5\n")
    recipe = load_recipe(path, ["loss.hea.weight=0", "loss.hea.level_parent=spot"])
    assert recipe.loss.hea.weight == 0
    assert recipe.loss.hea.level_parent == "spot"


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("train.lrr=1", "train.lrr"),
        ("train.lr=-1", "train.lr"),
        ("loss.hea.level_parent=gene", "loss.hea.level_parent"),
        ("train.epochs", "section.key=value"),
        ("=3", "section.key=value"),
        ("train..lr=3", "section.key=value"),
    ],
)
def test_an_override_no_one_can_run_is_named(override: str, names: str) -> None:
    with pytest.raises(UsageError, match=names.replace(".", r"\.")):
        load_recipe(None, [override])


@pytest.mark.parametrize("content", [b"[train", b"\xff\xfe\x00", None])
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"mine\.toml"):
        load_recipe(path)
