"""The model card: what a model is, what it was made of, how good it is, what it is not for."""

from __future__ import annotations

import pandas as pd

from hypergene.model.network import HyperGene
from hypergene.training.recipe import Recipe
from hypergene.training.splits import Split
from hypergene.training.trainer import Best

_LEVELS = {
    "patient": "whole patients were held out",
    "section": "sections of a patient in training were held out: **optimistic** for new patients",
    "none": "nothing was held out: **how good this model is, is not known**",
}


def model_card(
    model: HyperGene, split: Split, recipe: Recipe, best: Best, scores: pd.DataFrame | None
) -> str:
    """Return the text of a model folder's ``README.md``.

    Parameters
    ----------
    model
        The model.
    split
        Samples it was trained on, validated on and tested on.
    recipe
        How it was trained.
    best
        Epochs and blend chosen on validation, and the Pearson correlations there.
    scores
        Metrics of the test samples by (sample, gene set), if there were any.
    """
    config = model.config
    about = config.provenance
    used = split.learnt if recipe.train.refit else split.train
    parts = [
        f"# {about.name}",
        "Predicts spatial gene expression (natural log1p of counts per 10,000) from H&E images, "
        "with hypergene. **Predicted, not measured**: for research, not for diagnosis.",
        "## What it is",
        _table(
            ["", ""],
            [
                ["genes", f"{len(config.genes):,}"],
                ["encoder", f"timm `{config.encoder.name}`, {_millions(model.encoder)} parameters"],
                ["sees", " and ".join(f"{um:g} µm" for um in config.encoder.tile_um)
                 + f" around a spot, at {config.encoder.tile_px} px"],
                ["own lattice", f"{config.layout.name}: {config.layout.diameter_um:g} µm spots, "
                 f"{config.layout.pitch_um:g} µm apart"],
                ["space", f"{config.geometry.kind}, {config.geometry.dim} dimensions"],
                ["licence", about.licence],
            ],
        ),
        "## Data",
        f"Trained on {len(used)} sections ({', '.join(s.sample for s in used)}) of "
        f"{about.patients or 'an unknown number of'} patients.",
        "## Quality",
        f"Validation: {_LEVELS[split.level]}"
        + (f" ({', '.join(about.validated_on)})." if about.validated_on else "."),
    ]
    if best.pearson:
        parts += [
            f"Mean Pearson correlation over spots there, by the model of {best.epoch} epochs "
            "trained without them (unsmoothed; genes chosen on training spots):",
            _table(
                ["gene set", "Pearson"],
                [[name, f"{value:.3f}"] for name, value in best.pearson.items()],
            ),
            f"{int(model.reliable.sum()):,} of {len(config.genes):,} genes are marked reliable "
            "(lower end of the 95 % interval of the held-out correlation above 0.1).",
        ]
    if scores is not None:
        parts += [
            "Test samples, which chose nothing:",
            _table(
                ["sample", "gene set", "Pearson", "beyond depth", "MSE"],
                [
                    [*index, f"{row.pearson:.3f}", f"{row.pearson_beyond_depth:.3f}",
                     f"{row.mse:.3f}"]
                    for index, row in scores.iterrows()
                ],
            ),
        ]
    parts += [
        "## Limits",
        "A prediction is an expectation given the image: rare cell states, genes without a "
        "morphological trace and differences between patients are beyond it. Tissue, stain or "
        "scanner unlike the training sections lower its quality; see `ood_score` of each spot. "
        "Do not compute p-values from predictions.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _millions(module: object) -> str:
    count = sum(p.numel() for p in module.parameters())  # type: ignore[attr-defined]
    return f"{count / 1e6:.1f} M"
