"""What the documentation says is so."""

from __future__ import annotations

import pkgutil
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from hypergene.training.recipe import Recipe, load_recipe, presets
from hypergene.training.terms import Losses, Term
from hypergene.zoo import encoder_table, known_encoders

DOCS = Path(__file__).resolve().parent.parent / "docs"


def leaves(model: type[BaseModel], place: str = "") -> Iterator[str]:
    """Names of all values of a recipe, such as ``loss.hca.weight``."""
    for name, field in model.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if tables:
            yield from leaves(tables[0], f"{place}{name}.")
        else:
            yield f"{place}{name}"


def documented() -> dict[str, str]:
    """Key -> default, as the tables of recipes.md say; ``loss.*.key`` is a key of every term."""
    rows = re.findall(r"^\| `([a-z_.*]+)` \| (.+?) \|", (DOCS / "recipes.md").read_text(), re.M)
    terms = [name for name, field in Losses.model_fields.items() if is_term(field.annotation)]
    return {
        key.replace("*", term): default
        for key, default in rows
        for term in (terms if "*" in key else [""])
    }


def is_term(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Term)


def test_every_key_of_a_recipe_is_explained_and_no_other() -> None:
    assert set(documented()) - {"layout"} == set(leaves(Recipe))
    assert len(documented()) > 100


@pytest.mark.parametrize("key", [key for key in leaves(Recipe) if not key.startswith("layout")])
def test_the_default_of_a_key_is_the_one_documented(key: str) -> None:
    value: Any = load_recipe().model_dump(mode="json")
    for name in key.split("."):
        value = value[name]
    said = documented()[key]
    assert value == (None if said == "–" else tomllib.loads(f"x = {said.strip('`')}")["x"])


@pytest.mark.parametrize("preset", presets())
def test_every_preset_has_its_part_in_the_text(preset: str) -> None:
    text = (DOCS / "presets.md").read_text()
    assert f"## `{preset}`" in text
    assert f"(../hypergene/training/recipes/{preset}.toml)" in text


def test_the_commands_about_presets_are_of_recipes() -> None:
    text = (DOCS / "presets.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"^ *hypergene finetune .+$", text, re.M)
    assert len(commands) > 4
    for command in commands:
        words = shlex.split(command)
        given = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
        preset = words[words.index("--preset") + 1] if "--preset" in words else "hypergene"
        assert load_recipe(None, given, preset)


@pytest.mark.parametrize("path", sorted((DOCS / "recipes").glob("*.toml")), ids=lambda p: p.name)
def test_a_documented_recipe_loads(path: Path) -> None:
    assert load_recipe(path).about.licence != "unknown"


def test_the_recipe_in_the_text_loads(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.+?)```", (DOCS / "recipes.md").read_text(), re.S)
    (tmp_path / "mine.toml").write_text(text)
    recipe = load_recipe(tmp_path / "mine.toml")
    assert recipe.train.encoder == "frozen"
    assert recipe.loss.hca.weight == recipe.loss.hea.weight == 0


def test_the_table_of_encoders_is_that_of_the_program() -> None:
    text = (DOCS / "encoders.md").read_text()
    (shown,) = re.findall(r"<!-- table: .+? -->\n\n?(.*?)\n?\n?<!-- end of table -->", text, re.S)
    assert shown == encoder_table()
    assert len(shown.splitlines()) == 2 + len(known_encoders())


def test_the_commands_about_encoders_are_of_a_recipe() -> None:
    commands = re.findall(r"--set (\S+=\S+)", (DOCS / "encoders.md").read_text())
    assert len(commands) > 4
    for command in commands:
        assert command.split("=")[1]
        load_recipe(None, [command])


@pytest.mark.filterwarnings("ignore")
def test_the_examples_of_the_output_format_run(
    painted_slide: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib

    from hypergene.pipeline.predict import PredictOptions, predict_to_file

    for package in ("scanpy", "squidpy"):
        pytest.importorskip(package)
    matplotlib.use("Agg")
    outcome = predict_to_file(painted_slide, tmp_path, PredictOptions(model=str(tiny_model)))
    assert outcome.output is not None
    outcome.output.rename(tmp_path / "slide.zarr")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.+?)```", (DOCS / "output-format.md").read_text(), re.S)
    assert len(examples) == 2
    for example in examples:
        exec(example, {})


def test_every_key_of_a_prediction_is_in_the_output_format(
    painted_slide: Path, tiny_model: Path
) -> None:
    from hypergene.pipeline.predict import predict

    adata = predict(painted_slide, model=str(tiny_model))
    text = (DOCS / "output-format.md").read_text()
    (library,) = adata.uns["spatial"].values()
    named = [
        *(f'layers["{key}"]' for key in adata.layers if key),
        *(f'obs["{key}"]' for key in adata.obs),
        *(f'var["{key}"]' for key in adata.var),
        *(f'obsm["{key}"]' for key in adata.obsm),
        *(f'["{key}"]' for part in library.values() for key in part),
        *(f"`{key}`" for key in adata.uns["hypergene"]),
        *(f"`{key}`" for key in adata.uns["hypergene"]["seconds"]),
    ]
    assert len(named) > 35
    assert [name for name in named if name not in text] == []


@pytest.mark.parametrize(
    "path", [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda path: path.name
)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_rooms_named_in_the_data_flow_exist() -> None:
    text = (DOCS / "data-flow.md").read_text()
    drawn = "\n".join(re.findall(r"```\n(.+?)```", text, re.S))
    rooms = r"slide|st|spots|pipeline|features|model(?!\.safetensors)|output|training|zoo|report"
    names = re.findall(rf"\b((?:{rooms})(?:\.\w+)+)", drawn)
    assert len(names) > 20
    for name in names:
        assert pkgutil.resolve_name(f"hypergene.{name}")


def test_every_check_of_the_doctor_is_in_its_page() -> None:
    from hypergene.pipeline.doctor import examine

    text = (DOCS / "doctor.md").read_text()
    found = examine(offline=True)
    assert len(found) > 15
    assert [each.group for each in found if f"`{each.group}`" not in text] == []
    assert [each.code for each in found if f"`{each.code}`" not in text] == []


def test_the_example_about_models_runs() -> None:
    (example,) = re.findall(r"```python\n(.+?)```", (DOCS / "models.md").read_text(), re.S)
    exec(example, {})
