"""What the site shows that does not lie in docs/: the changelog, the command line, linked files.

On GitHub a link such as ``../hypergene/training/recipes/clip.toml`` leads out of docs/. Here the
file is taken along as text, so that the site needs no other host.
"""

from __future__ import annotations

import posixpath
import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"\]\((?P<path>(?:\.\./)+[^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the changelog, the reference of the command line and every file linked outside docs/."""
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    made = {"changelog.md": changelog.replace("](docs/", "]("), "cli.md": _command_line()}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    for page in files.documentation_pages():
        for link in _LINK.finditer(page.content_string):
            outside = _outside(page.src_uri, link["path"])
            if outside is not None and outside.is_file():
                place = _place(outside)
                if files.get_file_from_path(place) is None:
                    files.append(File.generated(config, place, abs_src_path=str(outside)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that lead out of docs/ to the copies."""

    def pointed(link: re.Match[str]) -> str:
        outside = _outside(page.file.src_uri, link["path"])
        if outside is None or files.get_file_from_path(_place(outside)) is None:
            return link[0]  # inside docs/, or missing, which the strict build will say
        return "](" + posixpath.relpath(_place(outside), posixpath.dirname(page.file.src_uri))

    return _LINK.sub(pointed, markdown)


def _outside(page: str, link: str) -> Path | None:
    """Return the file that a link of a page leads to, if that is outside docs/."""
    target = (REPOSITORY / "docs" / page).parent.joinpath(link).resolve()
    if target.is_relative_to(REPOSITORY / "docs") or not target.is_relative_to(REPOSITORY):
        return None
    return target


def _place(outside: Path) -> str:
    """Return where the copy of a file lies: as .txt, so that a browser shows it."""
    return f"files/{outside.relative_to(REPOSITORY).as_posix()}.txt"


def _command_line() -> str:
    """Return the reference of all commands, as Typer writes it."""
    command = [sys.executable, "-m", "typer", "hypergene.cli", "utils", "docs"]
    done = subprocess.run(
        [*command, "--name", "hypergene", "--title", "Command line"],
        cwd=REPOSITORY, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"The command line's reference cannot be made: {done.stderr}")
    code_or_tag = re.compile(r"(```.*?```|`[^`]*`)|<", re.S)
    return code_or_tag.sub(lambda found: found[1] or "&lt;", done.stdout)
