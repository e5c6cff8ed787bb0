"""What a training run is, in one string: the same run goes on, another is not taken for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from hypergene import __version__
from hypergene.features.cache import array_fingerprint, file_fingerprint
from hypergene.model.config import ModelConfig
from hypergene.st import Sample
from hypergene.training.expression import Expression
from hypergene.training.recipe import Recipe
from hypergene.training.section import Section
from hypergene.training.splits import Split


def run_name(
    config: ModelConfig,
    recipe: Recipe,
    split: Split,
    sections: Mapping[str, Section],
    expression: Mapping[str, Expression],
    counts_only: Mapping[str, Sequence[Sample]],
    seed: int,
) -> str:
    """Name everything that decides the course of a run, so that no other run is resumed."""
    what = {
        "version": __version__,
        "seed": seed,
        "recipe": recipe.model_dump(mode="json", exclude={"about"}),
        "model": config.model_dump(mode="json", exclude={"provenance"}),
        **{
            part: [
                {
                    "sample": sample.sample,
                    "patient": sample.patient,
                    "slide": file_fingerprint(sample.slide),
                    "spots": array_fingerprint(sections[sample.sample].xy_um),
                    "expression": expression[sample.sample].fingerprint,
                }
                for sample in getattr(split, part)
            ]
            for part in ("train", "validation")
        },
        "counts_only": {
            phase: {sample.sample: expression[sample.sample].fingerprint for sample in samples}
            for phase, samples in counts_only.items()
        },
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
