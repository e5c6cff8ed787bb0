"""What travels in the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from hypergene import __version__

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run(
        [*command, str(REPOSITORY)], capture_output=True, text=True, cwd=out, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_every_module_and_the_type_marker_are_in_it(wheel: zipfile.ZipFile) -> None:
    modules = {
        path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "hypergene").rglob("*.py")
    }
    assert modules <= set(wheel.namelist())
    assert "hypergene/py.typed" in wheel.namelist()


def test_every_model_is_in_it_as_it_stands_in_the_repository(wheel: zipfile.ZipFile) -> None:
    models = REPOSITORY / "models"
    files = [path for path in models.rglob("*") if path.is_file()]
    assert {"config.json", "model.safetensors", "README.md", "SHA256SUMS"} <= {
        path.name for path in files
    }
    for path in files:
        inside = f"hypergene/_models/{path.relative_to(models).as_posix()}"
        assert wheel.read(inside) == path.read_bytes()


def test_the_licence_is_in_it(wheel: zipfile.ZipFile) -> None:
    (licence,) = [name for name in wheel.namelist() if name.endswith("licenses/LICENSE")]
    assert b"Apache License" in wheel.read(licence)
    assert b"hypergene contributors" in wheel.read(licence)


def test_nothing_else_is_in_it(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"hypergene", f"hypergene-{__version__}.dist-info"}
    inside = [name for name in wheel.namelist() if name.startswith("hypergene/")]
    endings = {Path(name).suffix for name in inside if Path(name).name != "SHA256SUMS"}
    of_pages = {".html", ".css", ".js"}
    others = {".py", ".typed", ".json", ".safetensors", ".md", ".csv", ".toml"}
    assert endings <= others | of_pages


def test_its_metadata_name_the_command_and_the_extras(wheel: zipfile.ZipFile) -> None:
    folder = f"hypergene-{__version__}.dist-info"
    assert "hypergene = hypergene.cli:main" in wheel.read(f"{folder}/entry_points.txt").decode()
    metadata = Parser().parsestr(wheel.read(f"{folder}/METADATA").decode())
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    extras = {"test", "dev", "docs", "spatialdata", "ray"}
    assert extras <= set(metadata.get_all("Provides-Extra", []))
    capped = [line for line in metadata.get_all("Requires-Dist", []) if "<" in line or "==" in line]
    assert [line for line in capped if "extra ==" not in line] == []
