"""The examples of the public functions run as they are printed."""

from __future__ import annotations

import doctest
import importlib
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import hypergene

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture
def desk(
    tmp_path: Path,
    painted_slide: Path,
    tiny_model: Path,
    tiny_cohort: Any,
    tiny_recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder as the examples imagine it, which is the working directory."""
    for name in ("slide.svs", "other.svs"):
        shutil.copy(painted_slide, tmp_path / name)
    shutil.copytree(tiny_model, tmp_path / "run" / "model")
    shutil.copytree(tiny_cohort.folder, tmp_path, dirs_exist_ok=True)
    tiny_cohort_sheet = tmp_path / tiny_cohort.sheet.name
    tiny_cohort_sheet.rename(tmp_path / "sections.csv")
    shutil.copy(tiny_recipe, tmp_path / "small.toml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_examples() -> dict[str, Any]:
    public = {name: getattr(hypergene, name) for name in hypergene.__all__ if name[0] != "_"}
    check = importlib.import_module("hypergene.pipeline.data_check").check_samples
    return {**public, "check_samples": check, "hypergene": hypergene}


@pytest.mark.parametrize("name", with_examples())
def test_the_examples_of_a_docstring_run(name: str, desk: Path) -> None:
    if name == "finetune":
        shutil.rmtree(desk / "run")
    if name in ("export", "write_report"):
        hypergene.predict_to_file("slide.svs", genes=("ERBB2", "CD3E"))
    thing = with_examples()[name]
    text = thing.__doc__ or ""
    assert ">>>" in text, f"{name} has no example"
    assert "+SKIP" not in text
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
    result = runner.run(example, out=said.append)
    assert result.failed == 0, "".join(said)
    assert result.attempted > 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["api.md", "plot.md"])
def test_the_examples_of_a_page_run(name: str, desk: Path) -> None:
    for package in ("wsidata", "spatialdata"):
        pytest.importorskip(package)
    hypergene.predict_to_file("slide.svs", model="run/model")  # what the page on figures draws
    examples = re.findall(r"^```python\n(.+?)^```", (DOCS / name).read_text(), re.S | re.M)
    assert examples
    for example in examples:
        exec(example, {})


def test_every_public_function_is_on_the_page_about_python() -> None:
    named = re.findall(r"^::: hypergene\.(\w+)$", (DOCS / "api.md").read_text(), re.M)
    assert set(named) <= set(hypergene.__all__)
    ours = {name for name, home in hypergene._HOME.items() if "pipeline" in home}
    assert ours <= set(named)
