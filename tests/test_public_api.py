from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hypergene

PUBLIC = (
    *("tile", "predict", "predict_to_file", "predict_cohort", "finetune", "pretrain", "evaluate"),
    *("load_model", "open_slide", "plot", "export", "write_report"),
)
REPOSITORY = Path(__file__).resolve().parent.parent


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    return done.stdout


@pytest.mark.parametrize("module", ["hypergene", "hypergene.cli", "hypergene.errors"])
def test_importing_costs_neither_torch_nor_anndata(module: str) -> None:
    heavy = "torch timm geoopt anndata zarr numpy pandas scipy matplotlib openslide pydantic rich"
    heavy += " bokeh"
    loaded = python(
        f"import sys, {module}; print(*(m for m in {heavy!r}.split() if m in sys.modules))"
    )
    assert loaded.split() == []


def test_slides_and_spots_need_no_torch() -> None:
    code = "import sys, hypergene.slide, hypergene.spots; print('torch' in sys.modules)"
    assert python(code).strip() == "False"


def test_the_public_names_are_listed() -> None:
    assert set(PUBLIC) <= set(dir(hypergene))
    assert set(hypergene.__all__) <= set(dir(hypergene))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_leads_to_its_function(name: str) -> None:
    function = getattr(hypergene, name)
    assert callable(function)
    assert function.__name__ == name
    assert function.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        hypergene.nonsense  # noqa: B018


def test_the_package_is_typed() -> None:
    assert (Path(hypergene.__file__).parent / "py.typed").is_file()
