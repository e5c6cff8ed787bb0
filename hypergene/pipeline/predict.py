"""``hypergene predict``: a slide in, the expression of every spot out."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from anndata import AnnData

from hypergene.output import atomic_path, stream_anndata
from hypergene.pipeline.inputs import SlideInput, open_input, settle
from hypergene.pipeline.keywords import PredictKeywords
from hypergene.pipeline.outcome import Outcome, Stopwatch
from hypergene.pipeline.prediction.about import describe
from hypergene.pipeline.prediction.encode import Places, encode, room_for_features
from hypergene.pipeline.prediction.options import PredictOptions
from hypergene.pipeline.prediction.plan import Plan, make_plan
from hypergene.pipeline.prediction.readout import Block, SpotScores, matrices, read_out
from hypergene.report.quality_map import save_quality_map

if TYPE_CHECKING:
    from hypergene.pipeline.inputs import SlideLike

__all__ = ["PredictOptions", "predict", "predict_to_file"]


def predict(
    slide: SlideLike,
    options: PredictOptions | None = None,
    *,
    image: str | None = None,
    shapes: str | None = None,
    **overrides: Unpack[PredictKeywords],
) -> AnnData:
    """Predict the expression of every spot of tissue on a slide.

    Parameters
    ----------
    slide
        The slide file, or a WSIData, a SpatialData with an H&E image, or an AnnData that names its
        slide (:func:`hypergene.open_slide` says more). A WSIData brings the tissue that LazySlide
        found on it (the shapes ``tissues``), an AnnData the spots to predict: those of
        ``obsm["spatial"]`` that are ``in_tissue``, by their names.
    options
        See :class:`PredictOptions`.
    image
        Name of the image of a SpatialData, where it has several.
    shapes
        Name of shapes of a WSIData (``"tiles"``) or SpatialData (Visium's spots), at whose centres
        is predicted instead of on a lattice.
    **overrides
        Single options by name, over `options`. `coords` may be an AnnData, too; `tissue` may name
        shapes of a WSIData or SpatialData.

    Returns
    -------
    AnnData
        n spots × genes. ``X``: float32, predicted natural log1p of counts per 10,000;
        ``layers["std"]``: its predicted standard deviation; ``obs``: in_tissue, array_row,
        array_col, tissue_fraction, ood_score (share of held-out spots less unusual, 0..1), radius,
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
    >>> adata = hypergene.predict("slide.svs", genes=("ERBB2", "CD3E"))
    >>> list(adata.var_names)
    ['ERBB2', 'CD3E']

    At spots of your own, here those of an AnnData:

    >>> again = hypergene.predict("slide.svs", genes="ERBB2", coords=adata[:5])
    >>> list(again.obs_names) == list(adata.obs_names[:5])
    True
    """
    options, spots = settle(options or PredictOptions(), overrides)
    watch = Stopwatch()
    with watch("open"):
        found = open_input(slide, options, image=image, shapes=shapes, spots=spots)
    with found.slide:
        plan = make_plan(found, options, watch)
        kept = {
            place: np.empty((len(plan.placed.spots), matrix.columns), matrix.dtype)
            for place, matrix in matrices(plan, options.dtype).items()
        }

        def keep(block: Block) -> None:
            for place, values in block.matrices.items():
                kept[place][block.rows] = values

        parts, _ = _predict(found, plan, options, watch, keep, scratch=None)
    parts["obsm"]["X_hypergene"] = kept["obsm/X_hypergene"]
    return AnnData(kept["X"], layers={"std": kept["layers/std"]}, **parts)


def predict_to_file(
    slide: SlideLike,
    out: str | Path | None = None,
    options: PredictOptions | None = None,
    *,
    name: str | None = None,
    image: str | None = None,
    shapes: str | None = None,
    **overrides: Unpack[PredictKeywords],
) -> Outcome:
    """Predict a slide and write ``<stem>.zarr`` (or ``.h5ad``), with ``qc`` also ``<stem>.qc.png``.

    The files appear under their names when they are whole, or not at all.

    Parameters
    ----------
    slide, image, shapes
        As of :func:`predict`.
    out
        Folder for the output; None = beside the slide.
    options
        See :class:`PredictOptions`.
    name
        Of the output instead of the slide's stem (or the image's name).
    **overrides
        Single options by name, over `options`.

    Returns
    -------
    Outcome
        The file (``output``), numbers of spots and genes, seconds by stage, warnings.

    Raises
    ------
    HypergeneError
        As :func:`predict`, and if the output exists or cannot be written.

    Examples
    --------
    >>> import hypergene
    >>> outcome = hypergene.predict_to_file("slide.svs", "results", genes="ERBB2")
    >>> outcome.output.name, outcome.genes
    ('slide.zarr', 1)
    """
    options, given = settle(options or PredictOptions(), overrides)
    watch = Stopwatch()
    with watch("open"):
        found = open_input(slide, options, image=image, shapes=shapes, spots=given)
    with ExitStack() as stack:
        path = stack.enter_context(found.slide).path
        folder, stem = found.beside(out), name or path.stem
        target, maps = folder / f"{stem}.{options.format}", folder / f"{stem}.qc.png"
        drawn = None
        if options.qc:
            drawn = stack.enter_context(atomic_path(maps, overwrite=options.overwrite))
        draft = stack.enter_context(atomic_path(target, overwrite=options.overwrite))
        plan = make_plan(found, options, watch)
        spots = len(plan.placed.spots)
        with stream_anndata(
            draft, format=options.format, rows=spots, matrices=matrices(plan, options.dtype)
        ) as stream:

            def write(block: Block) -> None:
                with watch("write"):
                    stream[block.rows] = block.matrices

            parts, warnings = _predict(found, plan, options, watch, write, scratch=folder)
            # How long this takes can no longer stand in the file.
            start = time.perf_counter()
            stream.finish(**parts)
        if drawn is not None:
            spots_alone = AnnData(obs=parts["obs"], obsm=parts["obsm"], uns=parts["uns"])
            save_quality_map(spots_alone, drawn)
        watch.seconds["write"] += time.perf_counter() - start
    return Outcome(
        slide=path,
        output=target,
        spots=spots,
        genes=len(plan.genes),
        seconds=watch.seconds,
        warnings=warnings,
    )


def _predict(
    found: SlideInput,
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
        encoded = encode(found.slide, plan, places, table, options, watch)
        scores = SpotScores(len(plan.placed.spots))
        blocks = read_out(plan, encoded, options.dtype)
        while True:
            with watch("predict"):
                block = next(blocks, None)
            if block is None:
                break
            scores.add(block)
            keep(block)
    return describe(found, plan, encoded, scores, options, watch)
