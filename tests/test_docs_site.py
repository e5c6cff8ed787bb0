"""The documentation's site builds without a warning and needs nothing from another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from hypergene.cli import app

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a warning is an error."""
    pytest.importorskip("material")
    folder = tmp_path_factory.mktemp("site")
    config = REPOSITORY / "docs" / "site" / "mkdocs.yml"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config, "-d", folder],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def prose(page: Path) -> str:
    return re.sub(r"<(pre|code|script).*?</\1>", "", page.read_text("utf-8"), flags=re.S)


def test_every_page_of_the_documentation_is_in_the_site(site: Path) -> None:
    docs = REPOSITORY / "docs"
    pages = [page.relative_to(docs).with_suffix(".html") for page in docs.rglob("*.md")]
    assert len(pages) >= 20
    assert [page for page in pages if not (site / page).is_file()] == []


def test_the_site_loads_nothing_from_another_host(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|iframe|source)[^>]+src=\"?(?:https?:)?//[^>]+>|"
                        r"<link[^>]+rel=\"?(?:stylesheet|preconnect)[^>]+(?:https?:)?//[^>]+>|"
                        r"@import|url\((?:https?:)?//")  # fmt: skip
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) >= 20
    assert [(page.name, loaded.findall(page.read_text("utf-8"))) for page in pages
            if loaded.search(page.read_text("utf-8"))] == []  # fmt: skip


def test_every_command_and_option_is_in_its_reference(site: Path) -> None:
    text = (site / "cli.html").read_text("utf-8")
    commands = [("hypergene", get_command(app))]
    seen = 0
    for name, command in commands:
        assert f"<code>{name}</code>" in text or name == "hypergene"
        for option in (flag for p in command.params if not p.hidden for flag in p.opts):
            assert not option.startswith("--") or option in text
            seen += 1
        commands += [(f"{name} {sub}", c) for sub, c in getattr(command, "commands", {}).items()]
    assert len(commands) > 8
    assert seen > 100


def test_lists_and_tables_are_not_taken_for_text(site: Path) -> None:
    # GitHub takes a list without a blank line before it; Python's Markdown does not.
    for page in site.rglob("*.html"):
        for paragraph in re.findall(r"<p>(.*?)</p>", prose(page), re.S):
            assert not re.search(r"\n\s*(?:[-*] |\||```)", paragraph), (page.name, paragraph)
