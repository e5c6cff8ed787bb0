"""Ways in which files get damaged, drawn from a seed, for any layout of `tests/layouts`."""

from __future__ import annotations

import gzip
import importlib
import os
import pkgutil
import random
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import layouts
from hypergene.st import Sample
from hypergene.st.formats import FORMATS
from layouts.made import MadeSection

Writer = Callable[[Path, MadeSection], Sample]

_TEXT = (".tsv", ".csv", ".txt", ".json", ".mtx", ".xenium", ".zattrs", ".zgroup", ".zarray")
_WORDS = (
    *("abc", "-1", "NaN", "", "1.5", "1e400", "inf", "-inf", "9" * 30, "0x10", "1_0", "é", "0"),
    *('"', "'", "\t", "\n", "\r", ",", ";", " ", "\x00", "\u2028", "٣", "None", "True", "1e3"),
    *("null", "{}", "[]", "2147483648", "-0.0", "1e-320"),
)


def writers() -> dict[str, Writer]:
    """Find the writers of all layouts; a module that cannot be imported here has none."""
    found: dict[str, Writer] = {}
    for module in pkgutil.iter_modules(layouts.__path__):
        try:
            imported = importlib.import_module(f"layouts.{module.name}")
        except ImportError:  # an optional extra that is not installed
            continue
        found |= getattr(imported, "WRITERS", {})
    return dict(sorted(found.items()))


def is_readable(sample: Sample) -> bool:
    """Tell whether the format of a sample is known."""
    return sample.format in FORMATS


def copy_of(sample: Sample, origin: Path, folder: Path) -> Sample:
    """Copy a layout (by hard links: replace its files, never write into them)."""
    shutil.copytree(origin, folder, copy_function=os.link, dirs_exist_ok=True)

    def moved(path: Path | None) -> Path | None:
        return None if path is None else folder / path.relative_to(origin)

    return replace(
        sample, data=moved(sample.data), slide=moved(sample.slide), spots=moved(sample.spots)
    )


def damage(sample: Sample, folder: Path, seed: int) -> str:
    """Damage one or two files of a layout's copy; return what was done.

    The slide is left alone, as reading a sample does not open it.
    """
    rng = random.Random(seed)
    done = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        files = sorted(p for p in folder.rglob("*") if p.is_file() and p != sample.slide)
        if not files:
            break
        path = rng.choice(files)
        kind, change = rng.choice(_KINDS)
        change(path, files, rng)
        done.append(f"{kind} {path.relative_to(folder)}")
    return ", ".join(done)


def _write(path: Path, content: bytes) -> None:
    path.unlink()  # the original shares its content with the copy
    path.write_bytes(content)


def _delete(path: Path, files: list[Path], rng: random.Random) -> None:
    path.unlink()


def _empty(path: Path, files: list[Path], rng: random.Random) -> None:
    _write(path, b"")


def _truncate(path: Path, files: list[Path], rng: random.Random) -> None:
    content = path.read_bytes()
    _write(path, content[: rng.randrange(len(content) + 1)])


def _noise(path: Path, files: list[Path], rng: random.Random) -> None:
    _write(path, rng.randbytes(rng.randrange(1, 4096)))


def _flip(path: Path, files: list[Path], rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    size = len(content)
    for _ in range(rng.randint(1, 8) if size else 0):
        # What describes a file stands at its start or at its end.
        low, high = rng.choice(
            ((0, size), (0, size), (0, min(512, size)), (max(0, size - 512), size))
        )
        content[rng.randrange(low, high)] = rng.randrange(256)
    _write(path, bytes(content))


def _cut(path: Path, files: list[Path], rng: random.Random) -> None:
    content = path.read_bytes()
    at = rng.randrange(len(content) + 1)
    _write(path, content[:at] + content[at + rng.randint(1, 60) :])


def _swap(path: Path, files: list[Path], rng: random.Random) -> None:
    other = rng.choice(files)
    mine, theirs = path.read_bytes(), other.read_bytes()
    _write(path, theirs)
    if other != path:
        _write(other, mine)


def _folder(path: Path, files: list[Path], rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _of_text(
    change: Callable[[str, random.Random], str],
) -> Callable[[Path, list[Path], random.Random], None]:
    """Change the text of a file, gzipped or not; flip bytes of what is no text."""

    def changed(path: Path, files: list[Path], rng: random.Random) -> None:
        packed = path.name.endswith(".gz")
        if not path.name.removesuffix(".gz").endswith(_TEXT):
            return _flip(path, files, rng)
        content = path.read_bytes()
        try:
            text = (gzip.decompress(content) if packed else content).decode()
        except (OSError, EOFError, zlib.error, UnicodeDecodeError):  # damaged already
            return _flip(path, files, rng)
        content = change(text, rng).encode()
        _write(path, gzip.compress(content, 1) if packed else content)
        return None

    return changed


def _line(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    times = rng.choice((0, 0, 2))
    return "\n".join(lines[:at] + [lines[at]] * times + lines[at + 1 :])


def _shuffle(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    rng.shuffle(lines)
    return "\n".join(lines)


def _separator(text: str, rng: random.Random) -> str:
    old = rng.choice([mark for mark in "\t, :\n" if mark in text] or [" "])
    new = rng.choice((",", ";", "\t", " ", "|", ""))
    return text.replace(old, new, rng.choice((1, -1)))


def _cell(text: str, rng: random.Random) -> str:
    mark = rng.choice([mark for mark in "\t, :\n" if mark in text] or [" "])
    cells = text.split(mark)
    cells[rng.randrange(min(len(cells), rng.choice((30, len(cells)))))] = rng.choice(_WORDS)
    return mark.join(cells)


_KINDS: tuple[tuple[str, Callable[[Path, list[Path], random.Random], None]], ...] = (
    ("delete", _delete),
    ("empty", _empty),
    ("truncate", _truncate),
    ("noise in", _noise),
    ("flip bytes of", _flip),
    ("cut bytes from", _cut),
    ("swap", _swap),
    ("folder for", _folder),
    ("drop or repeat a line of", _of_text(_line)),
    ("shuffle the lines of", _of_text(_shuffle)),
    ("change separators of", _of_text(_separator)),
    ("bad word in", _of_text(_cell)),
    ("bad word in", _of_text(_cell)),
)
