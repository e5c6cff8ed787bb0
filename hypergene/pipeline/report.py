"""Pages of predictions: ``hypergene report``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypergene.errors import DataError, UsageError
from hypergene.output import open_prediction
from hypergene.output.atomic import atomic_path
from hypergene.pipeline.each import for_each_slide, refuse_clashes
from hypergene.pipeline.outcome import Outcome, Stopwatch
from hypergene.pipeline.page_content import MAX_GENES, page_content
from hypergene.report.index_page import IndexEntry, index_entry, index_page
from hypergene.report.prediction_page import prediction_page

log = logging.getLogger(__name__)

INDEX = "index.html"
_HTML = (".html", ".htm")
_NO_PREDICTIONS = (".spots.zarr", ".tiles.zarr")
"""What ``hypergene tile`` writes beside predictions."""


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What a page shows.

    Attributes
    ----------
    genes
        Symbols, in the order of the page; None = the `max_genes` that were predicted best on
        held-out data.
    max_genes
        How many to choose. Fewer are chosen where spots × genes would be more than
        ``MOST_VALUES``.
    overwrite
        Replace pages that exist.
    """

    genes: tuple[str, ...] | None = None
    max_genes: int = MAX_GENES
    overwrite: bool = False


def write_report(
    predictions: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    genes: Sequence[str] | None = None,
    max_genes: int = MAX_GENES,
    overwrite: bool = False,
) -> Path:
    """Write a page that shows a prediction, or a folder of pages with an index.

    A page is one HTML file that opens from disk and asks nothing of the network: the slide, the
    spots at their true size, maps of expression (natural log1p of counts per 10,000), its spread
    and the out-of-distribution score, how far each gene may be trusted, the slide card and how the
    prediction was made.

    Parameters
    ----------
    predictions
        What ``hypergene predict`` wrote (``.zarr`` or ``.h5ad``), one or several, or a folder of
        them.
    out
        Of one prediction an HTML file, or a folder that exists; None = ``<stem>.html`` beside it.
        Of several a folder; None = ``report`` beside them.
    genes
        Symbols to show; None = the `max_genes` that were predicted best on held-out data.
    max_genes
        How many genes to choose at most.
    overwrite
        Replace pages that exist.

    Returns
    -------
    pathlib.Path
        The page; of several predictions the index.

    Raises
    ------
    HypergeneError
        A prediction that is missing, damaged or too large for a page, a gene that it does not
        have, or an output that exists already. Of several predictions, those that fail stand in the
        index with the reason; an error is raised if none of them could be shown.

    Examples
    --------
    >>> import hypergene
    >>> hypergene.write_report("slide.zarr").name
    'slide.html'
    """
    given = [predictions] if isinstance(predictions, str | Path) else list(predictions)
    paths, is_single = predictions_in(given)
    options = ReportOptions(
        genes=None if genes is None else tuple(genes), max_genes=max_genes, overwrite=overwrite
    )
    target = None if out is None else Path(out)
    if is_single:
        outcome = report_one(paths[0], target, options)
        assert outcome.output is not None
        return outcome.output
    index, outcomes = report_several(paths, target, options)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        log.warning("%s: %s", outcome.slide, outcome.error)
    if len(failed) == len(paths):
        raise DataError(f"None of the predictions could be shown: {failed[0].error}")
    return index


def report_one(
    prediction: Path,
    out: Path | None = None,
    options: ReportOptions | None = None,
    *,
    listed: list[IndexEntry] | None = None,
) -> Outcome:
    """Write the page of one prediction; see :func:`write_report`.

    Parameters
    ----------
    prediction, out, options
        As there.
    listed
        What an index page shows of it is appended.
    """
    options = options or ReportOptions()
    watch = Stopwatch()
    page = _page_of(prediction, out)
    with atomic_path(page, overwrite=options.overwrite) as draft:
        with watch("open"):
            file = open_prediction(prediction)
        with watch("expression"):
            content = page_content(file, options.genes, options.max_genes)
        spots, genes = content.adata.shape
        with watch("page"):
            text = prediction_page(
                content.adata,
                name=prediction.stem,
                spots_in_file=len(file.obs),
                genes_in_file=len(file.genes),
                chosen_by=content.chosen_by,
                warnings=content.warnings,
                index=None if listed is None else INDEX,
            )
        with watch("write"):
            _write(draft, text)
    if listed is not None:
        entry = index_entry(
            content.adata, name=prediction.stem, link=page.name, spots=len(file.obs)
        )
        listed.append(entry)
    return Outcome(prediction, page, spots, genes, watch.seconds, content.warnings)


def report_several(
    predictions: Sequence[Path],
    out: Path | None = None,
    options: ReportOptions | None = None,
    *,
    tell: Callable[[Outcome], None] | None = None,
) -> tuple[Path, list[Outcome]]:
    """Write a page a prediction and an index of them; see :func:`write_report`.

    Parameters
    ----------
    predictions, out, options
        As there.
    tell
        Called with each outcome as soon as it is known.

    Returns
    -------
    index
        The index page, in which predictions that could not be shown stand with the reason.
    outcomes
        One a prediction, in order.
    """
    options = options or ReportOptions()
    folder = _folder_of(predictions, out)
    refuse_clashes(predictions, folder)
    listed: list[IndexEntry] = []

    def report(path: Path) -> Outcome:
        try:
            return report_one(path, folder / f"{path.stem}.html", options, listed=listed)
        except UsageError as error:  # a gene that this one does not have, and others may
            raise DataError(error.message, hint=error.hint) from error

    with atomic_path(folder / INDEX, overwrite=options.overwrite) as draft:
        outcomes = for_each_slide(predictions, report, report=tell)
        failed = [(one.slide.stem, one.error) for one in outcomes if one.error is not None]
        _write(draft, index_page(listed, failed))
    return folder / INDEX, outcomes


def predictions_in(given: Sequence[str | Path]) -> tuple[list[Path], bool]:
    """Return the predictions that are meant by paths, and whether it is a single one.

    Parameters
    ----------
    given
        Predictions, or folders of them.

    Returns
    -------
    predictions
        In the order given, those of a folder by name.
    is_single
        Whether one prediction itself was given, and no folder.

    Raises
    ------
    UsageError
        Nothing was given.
    DataError
        A folder holds no prediction.
    """
    found: list[Path] = []
    for path in map(Path, given):
        found += _inside(path) if _is_plain_folder(path) else [path]
    if not found:
        raise UsageError("No prediction was given.", hint="Give what hypergene predict wrote.")
    return found, len(found) == len(given) == 1 and found[0] == Path(given[0])


def _is_plain_folder(path: Path) -> bool:
    return path.is_dir() and path.suffix != ".zarr" and not (path / "zarr.json").exists()


def _inside(folder: Path) -> list[Path]:
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix in (".zarr", ".h5ad")
        and not path.name.startswith(".")
        and not path.name.endswith(_NO_PREDICTIONS)
    ]
    if not found:
        raise DataError(
            f"There is no prediction in the folder {folder}.",
            hint="Give the folder that hypergene predict wrote <slide>.zarr to.",
        )
    return found


def _write(draft: Path, text: str) -> None:
    # The policy's checksums are of scripts as they are here, whatever the system's line ends.
    draft.write_text(text, encoding="utf-8", newline="\n")


def _page_of(prediction: Path, out: Path | None) -> Path:
    if out is None:
        return prediction.with_suffix(".html")
    if out.is_dir():
        return out / f"{prediction.stem}.html"
    if out.suffix.lower() not in _HTML:
        raise UsageError(
            f"The page would be {out}, which no browser takes for a page.",
            hint="Give a file that ends in .html, or a folder that exists.",
        )
    return out


def _folder_of(predictions: Sequence[Path], out: Path | None) -> Path:
    if out is None:
        parents = {path.parent for path in predictions}
        if len(parents) > 1:
            raise UsageError(
                f"The {len(predictions)} predictions lie in {len(parents)} folders.",
                hint="Say where their pages are to stand with -o FOLDER.",
            )
        return parents.pop() / "report"
    if out.suffix.lower() in _HTML:
        raise UsageError(
            f"{len(predictions)} predictions do not fit into the one file {out}.",
            hint="Give a folder with -o.",
        )
    return out
