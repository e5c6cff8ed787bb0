"""``hypergene predict``: a slide in, the expression of every spot out."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from hypergene.output import atomic_path, stream_anndata
from hypergene.pipeline.outcome import Outcome, Stopwatch
from hypergene.pipeline.prediction.about import describe
from hypergene.pipeline.prediction.encode import Places, encode, room_for_features
from hypergene.pipeline.prediction.options import PredictOptions
from hypergene.pipeline.prediction.plan import Plan, make_plan
from hypergene.pipeline.prediction.readout import Block, SpotScores, matrices, read_out
from hypergene.report.quality_map import save_quality_map
from hypergene.slide import Slide, open_slide

__all__ = ["PredictOptions", "predict", "predict_to_file"]


def predict(slide: str | Path, options: PredictOptions | None = None, **overrides: Any) -> AnnData:
    """Predict the expression of every spot of tissue on a slide.

    Parameters
    ----------
    slide
        The slide file.
    options
        See :class:`PredictOptions`.
    **overrides
        Single options by name, over `options`.

    Returns
    -------
    AnnData
        n spots × genes. ``X``: float32, predicted natural log1p of counts per 10,000;
        ``layers["std"]``: its predicted standard deviation; ``obs``: in_tissue, array_row,
        array_col, tissue_fraction, ood_score (share of training spots less unusual, 0..1), radius,
        and with a model that has archetypes: archetype, archetype_0 …, archetype_ood; with ``qc``
        focus, pen, saturation and brightness (:class:`hypergene.slide.SpotQuality`);
        ``var``: heldout_pcc, ceiling_pcc, reliable, and with a model that has their intervals:
        heldout_low, heldout_high, coverage_80, reliability; ``obsm``: spatial (x, y) in level-0 px
        and X_hypergene; ``uns``: spatial (squidpy's) and hypergene (how this was made).

    Raises
    ------
    HypergeneError
        If the slide, the resolution, the spots or the model cannot be used as asked.

    Examples
    --------
    >>> import hypergene
    >>> adata = hypergene.predict("slide.svs", genes=("ERBB2", "CD3E"))  # doctest: +SKIP
    """
    options = replace(options or PredictOptions(), **overrides)
    watch = Stopwatch()
    with watch("open"):
        opened = open_slide(slide, mpp=options.mpp)
    with opened:
        plan = make_plan(opened, options, watch)
        kept = {
            place: np.empty((len(plan.placed.spots), matrix.columns), matrix.dtype)
            for place, matrix in matrices(plan, options.dtype).items()
        }

        def keep(block: Block) -> None:
            for place, values in block.matrices.items():
                kept[place][block.rows] = values

        parts, _ = _predict(opened, plan, options, watch, keep, scratch=None)
    parts["obsm"]["X_hypergene"] = kept["obsm/X_hypergene"]
    return AnnData(kept["X"], layers={"std": kept["layers/std"]}, **parts)


def predict_to_file(
    slide: str | Path,
    out: str | Path | None = None,
    options: PredictOptions | None = None,
    *,
    name: str | None = None,
) -> Outcome:
    """Predict a slide and write ``<stem>.zarr`` (or ``.h5ad``), with ``qc`` also ``<stem>.qc.png``.

    The files appear under their names when they are whole, or not at all.

    Parameters
    ----------
    slide
        The slide file.
    out
        Folder for the output; None = beside the slide.
    options
        See :class:`PredictOptions`.
    name
        Of the output instead of the slide's stem.

    Raises
    ------
    HypergeneError
        As :func:`predict`, and if the output exists or cannot be written.
    """
    slide, options = Path(slide), options or PredictOptions()
    folder = slide.parent if out is None else Path(out)
    target = folder / f"{name or slide.stem}.{options.format}"
    maps = folder / f"{name or slide.stem}.qc.png"
    watch = Stopwatch()
    with watch("open"):
        opened = open_slide(slide, mpp=options.mpp)
    with (
        opened,
        atomic_path(maps, overwrite=options.overwrite) if options.qc else nullcontext() as drawn,
        atomic_path(target, overwrite=options.overwrite) as draft,
    ):
        plan = make_plan(opened, options, watch)
        spots = len(plan.placed.spots)
        with stream_anndata(
            draft, format=options.format, rows=spots, matrices=matrices(plan, options.dtype)
        ) as stream:

            def write(block: Block) -> None:
                with watch("write"):
                    stream[block.rows] = block.matrices

            parts, warnings = _predict(opened, plan, options, watch, write, scratch=folder)
            # How long this takes can no longer stand in the file.
            start = time.perf_counter()
            stream.finish(**parts)
        if drawn is not None:
            spots_alone = AnnData(obs=parts["obs"], obsm=parts["obsm"], uns=parts["uns"])
            save_quality_map(spots_alone, drawn)
        watch.seconds["write"] += time.perf_counter() - start
    return Outcome(
        slide=slide,
        output=target,
        spots=spots,
        genes=len(plan.genes),
        seconds=watch.seconds,
        warnings=warnings,
    )


def _predict(
    slide: Slide,
    plan: Plan,
    options: PredictOptions,
    watch: Stopwatch,
    keep: Callable[[Block], None],
    *,
    scratch: Path | None,
) -> tuple[dict[str, Any], list[str]]:
    """Hand what is predicted to `keep`, block by block; return the rest, and warnings.

    Features lie in `scratch`, in a file without a name, or in memory if it is None.
    """
    places = Places.of(plan)
    with room_for_features(plan, places, scratch) as table:
        encoded = encode(slide, plan, places, table, options, watch)
        scores = SpotScores(len(plan.placed.spots))
        blocks = read_out(plan, encoded, options.dtype)
        while True:
            with watch("predict"):
                block = next(blocks, None)
            if block is None:
                break
            scores.add(block)
            keep(block)
    return describe(slide, plan, encoded, scores, options, watch)
