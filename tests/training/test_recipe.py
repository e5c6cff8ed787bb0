from __future__ import annotations

from pathlib import Path

import pytest

from hypergene.errors import UsageError
from hypergene.training.recipe import load_recipe, presets


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


def test_a_file_is_read_over_the_preset_and_an_override_over_both(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[loss.hca]\nweight = 0.5\n[train]\nlr = 0.5\n")
    recipe = load_recipe(path, ["train.lr=0.25"], preset="hyperst")
    assert recipe.loss.hca.weight == 0.5
    assert recipe.train.lr == 0.25
    assert recipe.niche.source == "crop"
    assert recipe.loss.hea == load_recipe(preset="hyperst").loss.hea != load_recipe().loss.hea


def test_the_default_is_the_preset_hypergene() -> None:
    assert load_recipe() == load_recipe(preset="hypergene")
    assert {"hypergene", "hyperst", "delst", "nh2st", "clip"} == set(presets())


@pytest.mark.parametrize("name", ["HyperST", "hyperst.toml", "../recipes/clip", ""])
def test_a_preset_that_does_not_exist_is_answered_with_those_that_do(name: str) -> None:
    with pytest.raises(UsageError, match="There is no preset") as caught:
        load_recipe(preset=name)
    assert all(preset in str(caught.value.hint) for preset in presets())


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
        ("loss.hea.eta.spot=0", "loss.hea.eta.spot"),
        ("loss.hea.start=1", "loss.hea in --set"),
        ("loss.contrast.weight=1", "loss.contrast.weight"),
        ("readout.anchor=true", "^--set readout.anchor=true is not right"),
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


def test_what_was_said_of_one_encoder_does_not_hold_for_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[encoder]\nname = "uni"\ntile_px = 448\n[head]\nmodules = 7\n')
    recipe = load_recipe(path)
    assert (recipe.encoder.name, recipe.encoder.tile_px) == ("uni", 448)
    assert recipe.encoder.arguments is recipe.encoder.mean is recipe.encoder.tile_um is None
    other = load_recipe(path, ["encoder.tile_um=[56.0]", "encoder.name=virchow2"])
    assert (other.encoder.tile_px, other.encoder.tile_um) == (None, (56.0,))
    assert other.head.modules == 7
    same = load_recipe(path, ["encoder.name=uni"])
    assert same.encoder.tile_px == 448


def test_arguments_can_be_set_one_by_one_and_replace_those_of_the_recipe() -> None:
    recipe = load_recipe(None, ["encoder.arguments.stem_width=8", "encoder.arguments.width=2"])
    assert recipe.encoder.arguments == {"stem_width": 8, "width": 2}


@pytest.mark.parametrize("recipe", ["encoder = 3\n", '[encoder]\nname = ["a"]\n'])
def test_an_encoder_that_is_no_table_or_has_no_name_is_refused(recipe: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(recipe)
    with pytest.raises(UsageError, match="encoder"):
        load_recipe(tmp_path / "mine.toml")
