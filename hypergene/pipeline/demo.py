"""``hypergene demo``: the whole way on a sample slide, from a file to a picture."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pooch

from hypergene.output import atomic_path
from hypergene.pipeline.outcome import Outcome
from hypergene.pipeline.painted import paint_slide
from hypergene.pipeline.plot import plot
from hypergene.pipeline.predict import PredictOptions, predict_to_file

log = logging.getLogger(__name__)

# OpenSlide's public test slide, CC0: https://openslide.cs.cmu.edu/download/openslide-testdata
SAMPLE_URL = (
    "https://openslide.cs.cmu.edu/download/openslide-testdata/Aperio/CMU-1-Small-Region.svs"
)
SAMPLE_SHA256 = "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7"
_FETCH_TIMEOUT_S = 10


@dataclass(frozen=True)
class DemoOptions:
    """Options of :func:`demo`.

    Attributes
    ----------
    model
        Name or folder of the model; None = the default model.
    mpp
        Microns per pixel of the sample slide, over its own word.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    overwrite
        Replace outputs that exist.
    """

    model: str | None = None
    mpp: float | None = None
    device: str = "auto"
    overwrite: bool = False


def demo(slide: Path | None, out: Path, options: DemoOptions) -> tuple[Outcome, Path]:
    """Predict expression on a sample slide and draw a few genes.

    Parameters
    ----------
    slide
        A slide to use; None = the sample (see :func:`sample_slide`).
    out
        Folder for the prediction, the picture and, if none is given, the slide.
    options
        See :class:`DemoOptions`.

    Returns
    -------
    Outcome, pathlib.Path
        What was predicted, and the picture.

    Raises
    ------
    HypergeneError
        If the slide given cannot be used, or the output cannot be written.
    """
    sample, story = sample_slide(slide, out)
    log.info("%s", story)
    picture = out / f"{sample.stem}.genes.png"
    wanted = PredictOptions(mpp=options.mpp, device=options.device, overwrite=options.overwrite)
    if options.model is not None:
        wanted = replace(wanted, model=options.model)
    with atomic_path(picture, overwrite=options.overwrite) as draft:
        outcome = predict_to_file(sample, out, wanted)
        assert outcome.output is not None  # predict_to_file raises where it fails
        figure = plot(outcome.output, "genes", title=f"Predicted expression, {sample.name}")
        figure.savefig(draft, format="png", dpi=150)
    return outcome, picture


def sample_slide(given: Path | None, folder: Path) -> tuple[Path, str]:
    """Return a slide to try things on, and a sentence that says which one it is.

    In this order: the path given; the file ``HYPERGENE_SAMPLE`` names; OpenSlide's public
    CMU-1-Small-Region.svs (fetched once, its sha256 checked, kept in the user's cache); a slide
    painted by hypergene itself. The last two are put into ``slide/`` in `folder`.
    """
    if given is not None:
        return given, f"Sample slide: {given}, as given."
    if named := os.environ.get("HYPERGENE_SAMPLE"):
        return Path(named), f"Sample slide: {named}, named by HYPERGENE_SAMPLE."
    try:
        fetched = _fetch_sample()
    except (OSError, ValueError) as error:
        log.warning(
            "The public sample slide could not be fetched from %s (%s).", SAMPLE_URL, _brief(error)
        )
        painted = folder / "slide" / "painted-slide.tiff"
        with atomic_path(painted, overwrite=True) as draft:
            paint_slide(draft)
        log.warning(
            "USING A PAINTED SLIDE INSTEAD. It looks like H&E but is no tissue: what is predicted "
            "on it shows that the tool runs, and nothing about biology. "
            "Give a slide (hypergene demo SLIDE) or set HYPERGENE_SAMPLE to use a real one."
        )
        return painted, f"Sample slide: {painted}, painted by hypergene (not real tissue)."
    sample = folder / "slide" / fetched.name  # where its user finds it, to look at and use again
    with atomic_path(sample, overwrite=True) as draft:
        shutil.copyfile(fetched, draft)
    return sample, f"Sample slide: OpenSlide's CMU-1-Small-Region.svs (CC0), real H&E, {sample}."


def _fetch_sample() -> Path:
    """Return the cached public sample slide, fetching it if it is not there.

    Raises
    ------
    OSError
        If there is no network or the cache cannot be written (all of requests' errors are OSError).
    ValueError
        If what came is not the pinned file.
    """
    pooch.get_logger().setLevel(logging.WARNING)
    return Path(
        pooch.retrieve(
            SAMPLE_URL,
            known_hash=f"sha256:{SAMPLE_SHA256}",
            fname=SAMPLE_URL.rsplit("/", 1)[-1],
            path=pooch.os_cache("hypergene"),
            downloader=pooch.HTTPDownloader(timeout=_FETCH_TIMEOUT_S),
        )
    )


def _brief(error: Exception) -> str:
    """Return what kind of failure it was: the texts of network errors run over several lines."""
    return type(error).__name__ if isinstance(error, OSError) else str(error).split("\n")[0][:100]
