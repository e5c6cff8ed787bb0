"""Pages of predictions: ``hypergene report``."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from hypergene.errors import DataError, UsageError
from hypergene.output import PredictionFile, open_prediction
from hypergene.output.atomic import atomic_path
from hypergene.pipeline.each import for_each_slide, refuse_clashes
from hypergene.pipeline.outcome import Outcome, Stopwatch
from hypergene.report.index_page import IndexEntry, index_entry, index_page
from hypergene.report.prediction_page import prediction_page

log = logging.getLogger(__name__)

MOST_SPOTS = 100_000
"""Of more spots a regular part is shown: a browser without a fast GPU would not be fluent."""
MOST_VALUES = 10_000_000
"""Spots × genes that a page holds: 50,000 × 200, about 20 MB."""
MAX_GENES = 200
INDEX = "index.html"
_HTML = (".html", ".htm")
_SAMPLE_SPOTS = 2000
_SPOTS_AT_ONCE = 65_536


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
        What ``hypergene predict`` wrote (``.zarr`` or ``.h5ad``), one or several.
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
    >>> write_report("slide.zarr")  # doctest: +SKIP
    PosixPath('slide.html')
    """
    given = [predictions] if isinstance(predictions, str | Path) else list(predictions)
    paths = [Path(path) for path in given]
    options = ReportOptions(
        genes=None if genes is None else tuple(genes), max_genes=max_genes, overwrite=overwrite
    )
    target = None if out is None else Path(out)
    if len(paths) == 1:
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
            shown = shown_spots(file.obs)
            genes, chosen_by, warnings = _genes(file, int(shown.sum()), options)
        with watch("expression"):
            adata = _read(file, genes, shown)
        if len(adata) < len(file.obs):
            warnings.append(
                f"{len(adata):,} of the {len(file.obs):,} spots are shown, a regular part of them: "
                "more would not be fluent."
            )
        with watch("page"):
            text = prediction_page(
                adata,
                name=_stem(prediction),
                spots_in_file=len(file.obs),
                genes_in_file=len(file.genes),
                chosen_by=chosen_by,
                warnings=warnings,
            )
        with watch("write"):
            draft.write_text(text, encoding="utf-8")
    if listed is not None:
        listed.append(
            index_entry(adata, name=_stem(prediction), link=page.name, spots=len(file.obs))
        )
    return Outcome(prediction, page, len(adata), len(genes), watch.seconds, warnings)


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
    refuse_clashes([Path(_stem(path) + ".html") for path in predictions], folder)
    listed: list[IndexEntry] = []
    with atomic_path(folder / INDEX, overwrite=options.overwrite) as draft:
        outcomes = for_each_slide(
            predictions,
            lambda path: report_one(path, folder / f"{_stem(path)}.html", options, listed=listed),
            report=tell,
        )
        failed = [(_stem(one.slide), one.error) for one in outcomes if one.error is not None]
        draft.write_text(index_page(listed, failed), encoding="utf-8")
    return folder / INDEX, outcomes


def _stem(prediction: Path) -> str:
    return prediction.stem


def _page_of(prediction: Path, out: Path | None) -> Path:
    if out is None:
        return prediction.with_suffix(".html")
    if out.is_dir():
        return out / f"{_stem(prediction)}.html"
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


def shown_spots(obs: pd.DataFrame, most: int | None = None) -> NDArray[np.bool_]:
    """Say which spots a page shows: all, or of more than it holds a regular part.

    Parameters
    ----------
    obs
        ``array_row`` and ``array_col``, −1 where a spot has no place on a lattice.
    most
        How many a page holds, about; None = ``MOST_SPOTS``.

    Returns
    -------
    ndarray
        bool (n,). On a lattice the spots of every k-th row in every k-th column, the least k that
        does; of other spots every k²-th.
    """
    most = MOST_SPOTS if most is None else most
    spots = len(obs)
    if spots <= most:
        return np.ones(spots, bool)
    step = math.ceil(math.sqrt(spots / most))
    if {"array_row", "array_col"} <= set(obs) and (obs["array_row"] >= 0).all():
        # Hexagons' columns count twice as fast, even ones on even rows: pairs are one column.
        row, column = obs["array_row"].to_numpy(), obs["array_col"].to_numpy()
        is_hexagonal = bool(((row + column) % 2 == 0).all())
        place = column // 2 if is_hexagonal else column
        return np.asarray((row % step == 0) & (place % step == 0))
    return np.asarray(np.arange(spots) % step**2 == 0)


def _read(file: PredictionFile, genes: Sequence[str], shown: NDArray[np.bool_]) -> AnnData:
    """Read expression and spread of the spots that are shown, in bounded memory."""
    layers = [name for name in ("std",) if name in file.layers]
    if shown.all():
        return file.read(genes, layers=layers)
    parts = []
    for start in range(0, len(shown), _SPOTS_AT_ONCE):
        rows = slice(start, start + _SPOTS_AT_ONCE)
        parts.append(file.read(genes, rows, layers)[shown[rows]].copy())
    return anndata.concat(parts, merge="first", uns_merge="first")


def _genes(
    file: PredictionFile, spots: int, options: ReportOptions
) -> tuple[list[str], str, list[str]]:
    """Choose the genes of a page: symbols, how they were chosen, what a user should know of it."""
    if spots == 0:
        raise DataError(f"{file.path} has no spots to show.", hint="Predict the slide again.")
    room = max(MOST_VALUES // spots, 1)
    if options.genes is not None:
        wanted = list(dict.fromkeys(options.genes))
        if len(wanted) > room:
            raise UsageError(
                f"{len(wanted):,} genes of {spots:,} spots are more than a page holds.",
                hint=f"Give at most {room:,} with --genes.",
            )
        return wanted, "as asked for", []
    count = min(options.max_genes, room, len(file.genes))
    warnings = []
    if count == room < min(options.max_genes, len(file.genes)):
        warnings.append(
            f"{spots:,} spots leave room for {room:,} genes on a page; --genes names others."
        )
    if "heldout_pcc" in file.var:
        score, by = file.var["heldout_pcc"], "best on held-out data first"
    else:
        score, by = _variance(file), "most varying first"
    order = np.argsort(-np.nan_to_num(score.to_numpy(np.float64), nan=-np.inf), kind="stable")
    return [file.genes[at] for at in order[:count]], by, warnings


def _variance(file: PredictionFile) -> pd.Series:
    """Return each gene's variance over the first spots: enough to choose by."""
    some = file.read(rows=slice(0, _SAMPLE_SPOTS), layers=())
    return pd.Series(np.asarray(some.X).var(axis=0), index=some.var_names)
