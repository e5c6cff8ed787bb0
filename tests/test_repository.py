"""What stands around the package says the same as the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from hypergene import __version__

REPOSITORY = Path(__file__).resolve().parent.parent
GITHUB = REPOSITORY / ".github"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version_and_licence() -> None:
    cited = read(REPOSITORY / "CITATION.cff")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert cited["version"] == __version__
    assert cited["license"] == project["license"]
    assert cited["title"] == project["name"]
    assert " ".join(cited["abstract"].split()) == project["description"] + "."


def test_the_workflow_tests_every_version_and_system_that_is_promised() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: 3."
    promised = {f"3.{c[len(prefix) :]}" for c in project["classifiers"] if c.startswith(prefix)}
    suite = read(GITHUB / "workflows" / "tests.yml")["jobs"]["suite"]
    matrix = suite["strategy"]["matrix"]
    assert set(matrix["python"]) == promised >= {"3.11", "3.12", "3.13"}
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert ".ci/run" in {step.get("run") for step in suite["steps"]}


def test_the_test_command_is_the_readmes() -> None:
    command = "python -m pip install '.[test]' && python -m pytest"
    assert command in (REPOSITORY / "README.md").read_text().splitlines()
    assert command in (REPOSITORY / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("path", sorted(GITHUB.glob("*.md")), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
    # These two lead to GitHub's own pages of whatever repository this is.
    ours = [link for link in links if not link.startswith("../../security")]
    assert [link for link in ours if not (path.parent / link).exists()] == []


def test_the_image_holds_what_the_wheel_needs() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile(), re.M)
    names = {name for line in copied for name in line.split()}
    assert names == {"pyproject.toml", "README.md", "LICENSE", "hypergene", "models"}
    let_through = re.findall(r"^!(.+)$", (REPOSITORY / ".dockerignore").read_text(), re.M)
    assert set(let_through) == names


def test_the_commands_about_the_image_are_the_images() -> None:
    text = (REPOSITORY / "docs" / "docker.md").read_text()
    assert "-f .docker/Dockerfile" in text
    devices = set(re.findall(r"DEVICE=(\w+)", text + dockerfile()))
    assert devices == {"cpu", "cuda"}
    for folder in ("/data", "/cache"):
        assert folder in text
        assert folder in dockerfile()


def dockerfile() -> str:
    return (REPOSITORY / ".docker" / "Dockerfile").read_text(encoding="utf-8")
