"""The bundled model: its files, and a prediction with it from a slide to numbers."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hypergene.pipeline.doctor.finding import Finding
from hypergene.pipeline.painted import paint_slide
from hypergene.pipeline.quiet import quiet
from hypergene.zoo import DEFAULT_MODEL, bundled_models, verify_model

_SIDE_PX, _MPP = 800, 1.0
_SLOW_S = 30.0
_REINSTALL = "Install hypergene again: pip install --force-reinstall hypergene."


def check_model() -> Iterator[Finding]:
    """Verify the bundled model, and predict with it on a small slide painted for it."""
    if DEFAULT_MODEL not in bundled_models():
        told = f"The model {DEFAULT_MODEL}, which travels with hypergene, is not there."
        yield Finding("model", "bundled", "fail", told, fix=_REINSTALL)
        return
    found = verify_model(DEFAULT_MODEL)
    if not found.ok:
        told = f"The bundled model is damaged: {found.problems[0]}"
        yield Finding("model", "bundled", "fail", told, fix=_REINSTALL)
        return
    told = f"The bundled model {DEFAULT_MODEL} is whole."
    yield Finding("model", "bundled", "pass", told, facts={"folder": str(found.folder)})
    yield _prediction()


def _prediction() -> Finding:
    from hypergene.pipeline.predict import predict

    with tempfile.TemporaryDirectory(prefix="hypergene-doctor-") as folder:
        slide = paint_slide(Path(folder) / "painted.tiff", size_px=_SIDE_PX, mpp=_MPP)
        start = time.perf_counter()
        with quiet("hypergene.pipeline", logging.CRITICAL):  # what it thinks of painted tissue
            adata = predict(slide, model=DEFAULT_MODEL)
        seconds = time.perf_counter() - start
    spots, genes = adata.shape
    facts = {"seconds": round(seconds, 2), "spots": spots, "genes": genes}
    if not (spots and np.isfinite(adata.X).all()):
        return Finding(
            *("model", "predict", "fail", "A prediction on a painted slide gives no numbers."),
            fix="See what failed above; if nothing did, please report it.",
            facts=facts,
        )
    told = (
        f"A prediction on a painted slide ({spots} spots × {genes:,} genes) took {seconds:.1f} s."
    )
    if seconds > _SLOW_S:
        return Finding(
            *("model", "predict", "warn", told),
            fix="See the lines about memory, threads and the GPU: something holds it up.",
            facts=facts,
        )
    return Finding("model", "predict", "pass", told, facts=facts)
