"""Spatial gene expression predicted from H&E slides.

The public functions are imported when they are first asked for, so that ``import hypergene`` (and
``hypergene --help``) cost neither torch nor anndata.

Examples
--------
>>> import hypergene
>>> adata = hypergene.predict("slide.svs")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypergene.pipeline.cohort import predict_cohort
    from hypergene.pipeline.evaluate import evaluate
    from hypergene.pipeline.export import export
    from hypergene.pipeline.finetune import finetune
    from hypergene.pipeline.plot import plot
    from hypergene.pipeline.predict import predict, predict_to_file
    from hypergene.pipeline.pretrain import pretrain
    from hypergene.pipeline.report import write_report
    from hypergene.pipeline.tile import tile
    from hypergene.slide import open_slide
    from hypergene.zoo import load_model

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "evaluate",
    "export",
    "finetune",
    "load_model",
    "open_slide",
    "plot",
    "predict",
    "predict_cohort",
    "predict_to_file",
    "pretrain",
    "tile",
    "write_report",
]

_HOME = {
    "evaluate": "hypergene.pipeline.evaluate",
    "export": "hypergene.pipeline.export",
    "finetune": "hypergene.pipeline.finetune",
    "load_model": "hypergene.zoo",
    "open_slide": "hypergene.slide",
    "plot": "hypergene.pipeline.plot",
    "predict": "hypergene.pipeline.predict",
    "predict_cohort": "hypergene.pipeline.cohort",
    "predict_to_file": "hypergene.pipeline.predict",
    "pretrain": "hypergene.pipeline.pretrain",
    "tile": "hypergene.pipeline.tile",
    "write_report": "hypergene.pipeline.report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
