"""``--genes``: symbols on the command line, or a file of them."""

from __future__ import annotations

from pathlib import Path

from hypergene.errors import UsageError

_LIST_SUFFIXES = {".txt", ".csv", ".tsv", ".list", ".genes"}


def parse_genes(text: str | None) -> tuple[str, ...] | None:
    """Return the gene symbols that ``--genes`` asks for, in order and each once.

    `text` is a file with one symbol a line (empty lines and lines after ``#`` are skipped), if
    there is a file of that name, or else symbols with commas between them. None means all genes.

    Raises
    ------
    UsageError
        If the text looks like a file that is not there, or no symbol is found.
    """
    if text is None:
        return None
    path = Path(text)
    if path.is_file():
        symbols = _read_list(path)
        source = f"the file {path}"
    elif path.suffix.lower() in _LIST_SUFFIXES or "/" in text or "\\" in text:
        raise UsageError(
            f"There is no file {text}, and it is no gene symbol either.",
            hint="--genes takes symbols with commas between them (ERBB2,KRT8) "
            "or a file with one symbol a line.",
        )
    else:
        symbols = [symbol.strip() for symbol in text.split(",")]
        source = f"--genes {text!r}"
    wanted = tuple(dict.fromkeys(symbol for symbol in symbols if symbol))
    if not wanted:
        raise UsageError(
            f"There is no gene symbol in {source}.",
            hint="Leave --genes out to get every gene the model knows.",
        )
    return wanted


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"The gene list {path} cannot be read as text.",
            hint="Write one gene symbol a line, in UTF-8.",
        ) from None
    symbols = []
    for number, line in enumerate(lines, start=1):
        symbol = line.split("#", 1)[0].strip()
        if any(separator in symbol for separator in ",;\t "):
            raise UsageError(
                f"Line {number} of the gene list {path} holds more than one symbol: {symbol!r}.",
                hint="Write one gene symbol a line.",
            )
        symbols.append(symbol)
    return symbols
