"""What the site shows that does not lie in docs/, and links that lead out of docs/.

The changelog and CONTRIBUTING are taken along as pages, the reference of the command line is
written by Typer, and any other file that a page links to (a recipe, a module) is taken along as
text. So the same Markdown reads well on GitHub, and the site needs no other host.
"""

from __future__ import annotations

import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"

#: Page of the site -> where its text lies.
TAKEN = {
    "changelog.md": REPOSITORY / "CHANGELOG.md",
    "contributing.md": REPOSITORY / ".github" / "CONTRIBUTING.md",
}

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|[#/<])(?P<path>[^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and files that do not lie in docs/."""
    for page, text in TAKEN.items():
        files.append(File.generated(config, page, abs_src_path=str(text)))
    files.append(File.generated(config, "cli.md", content=_command_line()))
    for page in files.documentation_pages():
        for link in _LINK.finditer(page.content_string):
            target = _target(page.src_uri, link["path"])
            place = _place(target)
            if place and target.is_file() and files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that lead out of docs/ to what was taken along."""
    here = page.file.src_uri

    def pointed(link: re.Match[str]) -> str:
        place = _place(_target(here, link["path"]))
        if place is None or files.get_file_from_path(place) is None:
            return link[0]  # a strict build says what is wrong with it
        return posixpath.relpath(place, posixpath.dirname(here) or ".")

    return _LINK.sub(pointed, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leave away the roles of Sphinx that docstrings name things by."""
    return re.sub(r":(?:func|class|meth|mod|attr):<code>~?", "<code>", html)


def _target(page: str, link: str) -> Path:
    """Return the file that a link of a page leads to on GitHub."""
    return Path(os.path.normpath(TAKEN.get(page, DOCS / page).parent / link))


def _place(target: Path) -> str | None:
    """Return where the site has a file of the repository; None if the repository has it not."""
    for page, text in TAKEN.items():
        if target == text:
            return page
    if target.is_relative_to(DOCS) and target.suffix != ".py":
        return target.relative_to(DOCS).as_posix()
    if target.is_relative_to(REPOSITORY):  # .txt, so that a browser shows it; no hidden folders
        return f"files/{target.relative_to(REPOSITORY).as_posix().lstrip('.')}.txt"
    return None


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
