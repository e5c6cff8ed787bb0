"""``hypergene evaluate``: how good predictions are of what was measured, and what flatters them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from hypergene.features.cache import ArrayCache
from hypergene.pipeline.evaluation.cross_validate import cross_validate
from hypergene.pipeline.evaluation.data import choose_samples
from hypergene.pipeline.evaluation.mechanism import Labels, read_labels
from hypergene.pipeline.evaluation.options import EvaluateOptions, check_options
from hypergene.pipeline.evaluation.run import EvaluationRun
from hypergene.pipeline.evaluation.writing import refuse_finished
from hypergene.pipeline.keywords import EvaluateKeywords
from hypergene.pipeline.options import with_overrides
from hypergene.pipeline.outcome import Stopwatch
from hypergene.st import Sample, read_samples
from hypergene.st.gmt import read_gmt


def evaluate(
    samples: str | Path | Sequence[Sample],
    out: str | Path,
    options: EvaluateOptions | None = None,
    **overrides: Unpack[EvaluateKeywords],
) -> Path:
    """Score a model, a recipe or another tool's predictions on samples with measured expression.

    Parameters
    ----------
    samples
        The truth: a samples sheet, a folder, or the samples themselves.
    out
        Folder for ``report.html``, ``summary.json`` and the tables, each as CSV and Parquet; of a
        cross-validation also ``folds/<fold>-seed<k>/``, with the model of each fold.
    options
        See :class:`hypergene.pipeline.evaluation.options.EvaluateOptions`.
    **overrides
        Single options by name, over `options`.

    Returns
    -------
    pathlib.Path
        The report.

    Raises
    ------
    HypergeneError
        Whatever is wrong with samples, predictions, model or output, in one sentence.

    Examples
    --------
    >>> import hypergene
    >>> report = hypergene.evaluate(
    ...     "sections.csv", "scores", model="run/model", train="A1,A2", replicates=100
    ... )
    >>> report.name
    'report.html'
    """
    options = with_overrides(options or EvaluateOptions(), overrides)
    out = Path(out)
    check_options(options)
    refuse_finished(out, overwrite=options.overwrite)
    sets = {} if options.gene_sets is None else read_gmt(options.gene_sets)
    labels = Labels() if options.labels is None else read_labels(Path(options.labels))
    cache = ArrayCache(Path(options.cache or out / "cache"))
    run = EvaluationRun(options, out, cache, sets, labels, Stopwatch())
    if options.cv is not None:
        listed = read_samples(samples) if isinstance(samples, str | Path) else list(samples)
        return cross_validate(run, listed)
    return run.score(*choose_samples(samples, options.only, options.train))
