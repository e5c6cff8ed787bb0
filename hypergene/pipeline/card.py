"""The model card: what a model is, what it was made of, how good it is, what it is not for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
from torch import nn

from hypergene.evaluation.classes import CLASSES, RELIABLE_ABOVE, reliability_classes
from hypergene.evaluation.scales import NOWHERE, RINGS_PITCH
from hypergene.model.config import EncoderConfig, HeldOutConfig, NicheConfig
from hypergene.model.network import HyperGene
from hypergene.pipeline.gene_table import readable_at
from hypergene.training.recipe import Recipe
from hypergene.training.splits import Split
from hypergene.training.trainer import Best

_VALIDATION = {
    "patient": "whole patients were held out",
    "section": "sections of a patient in training were held out: **optimistic** for new patients",
    "none": "nothing was held out: **how good this model is, is not known**",
}
_WARNING = (
    "Predicts spatial gene expression (natural log1p of counts per 10,000) from H&E images, with "
    "hypergene. **Predicted, not measured**: for research, not for diagnosis."
)
_INTENDED_USE = (
    "Exploring how genes of the list might vary over tissue like that of the training samples, and "
    "choosing where to measure. Not for diagnosis or treatment, and not for other tissues, "
    "preparations or stains."
)
_LIMITS = (
    "A prediction is an expectation given the image: rare cell states, genes without a "
    "morphological trace and differences between patients are beyond it. Tissue, stain or scanner "
    "unlike the training sections lower its quality; see `ood_score` of each spot and "
    "`heldout_pcc` of each gene. Do not compute p-values from predictions."
)


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
    about = recipe.about
    sections = {
        "What it is": [_summary(model)],
        "Intended use": [about.intended_use or _INTENDED_USE],
        "Data": [_data(model), about.attribution],
        "Quality": [*_validation(model, split, best), *_test(scores)],
        "Limits": [_LIMITS],
    }
    parts = [f"# {model.config.provenance.name}", _WARNING]
    for title, paragraphs in sections.items():
        parts += [f"## {title}", *(text for text in paragraphs if text)]
    return "\n\n".join(parts) + "\n"


def _summary(model: HyperGene) -> str:
    config = model.config
    encoder, layout = config.encoder, config.layout
    widths = " and ".join(f"{um:g} µm" for um in encoder.tile_um)
    rows = {
        "tissue": config.provenance.tissue,
        "genes": f"{len(config.genes):,}",
        "encoder": encoder_summary(model),
        "sees": f"{widths} around a spot, at {encoder.tile_px} px",
        "own lattice": f"{layout.name}: {layout.diameter_um:g} µm spots, "
        f"{layout.pitch_um:g} µm apart",
        "space": f"{config.geometry.kind}, {config.geometry.dim} dimensions",
        "niche": _niche(config.niche),
        "answer": _answer(model),
        "licence": config.provenance.licence,
        "made with": f"hypergene {config.provenance.hypergene}",
    }
    if encoder.licence:
        # Whoever passes the folder on passes those weights on.
        rows["licence"] += f"; the encoder's weights in this folder come from {encoder.source} and "
        rows["licence"] += f"stay under their own: {encoder.licence}"
    return _table(["", ""], rows.items())


def encoder_summary(model: HyperGene) -> str:
    """Say which network reads the tiles, how large it is, and what it started from."""
    encoder = model.config.encoder
    pretrained = "trained from scratch"
    if encoder.pretrained:
        pretrained = f"started from the weights of {encoder.source or encoder.name}"
    return f"{_network(encoder)}, {_size(model.encoder)} parameters, {pretrained}"


def _network(encoder: EncoderConfig) -> str:
    made_of = encoder.architecture
    return f"`{encoder.name}`" + (f" (timm `{made_of}`)" if made_of else " of timm")


def _niche(config: NicheConfig) -> str:
    of = {"neighbours": "the first ring of neighbours", "crop": "the wider crop"}[config.source]
    if config.reader == "rings":
        return of
    kind = "hyperbolic attention" if config.reader == "hyperbolic-attention" else "attention"
    return f"{of}; read by {kind} over at most {config.neighbours} neighbours"


def _answer(model: HyperGene) -> str:
    """Say how much each readout has to say, in the order in which they are averaged."""
    blend, anchored = model.blend, model.config.readout.anchor
    shares = {
        "trained head on a ridge" if anchored else "trained head": (1 - blend.ridge),
        "ridge": blend.ridge,
    }
    parts = {name: share * (1 - blend.kernel) for name, share in shares.items()}
    parts[f"{model.config.readout.kernel} kernel"] = blend.kernel
    text = ", ".join(f"{name} {share:.0%}" for name, share in parts.items() if share)
    if blend.gallery:
        text += f"; corrected by held-out residuals, share {blend.gallery:.0%}"
    return text


def _data(model: HyperGene) -> str:
    about = model.config.provenance
    patients = "an unknown number of" if about.patients is None else f"{about.patients:,}"
    count = len(about.trained_on)
    more = f" Gene modules also on the counts of {', '.join(about.counts_of)}."
    return (
        f"Trained on {count:,} section{'s' * (count != 1)} ({', '.join(about.trained_on)}) of "
        f"{patients} patient{'s' * (about.patients != 1)}." + more * bool(about.counts_of)
    )


def _validation(model: HyperGene, split: Split, best: Best) -> list[str]:
    names = ", ".join(sample.sample for sample in split.validation)
    parts = [f"Validation: {_VALIDATION[split.level]}{f' ({names})' if names else ''}."]
    if best.pearson:
        rows = [(name, f"{value:.3f}") for name, value in best.pearson.items()]
        parts += [
            "Mean Pearson correlation over spots there, of the model that was trained "
            f"{best.epoch:,} epochs without them (unsmoothed; gene sets chosen on its own training "
            "spots; epoch and blend were chosen on the same samples, so these numbers flatter a "
            "little):",
            _table(["gene set", "Pearson"], rows),
            f"{int(model.reliable.sum()):,} of {len(model.config.genes):,} genes are marked "
            "reliable (lower end of the 95 % interval of the held-out correlation above "
            f"{RELIABLE_ABOVE:g}).",
            *_held_out(model),
        ]
    return parts


def _held_out(model: HyperGene) -> list[str]:
    """Say what intervals and spread rest on, and how many genes are of each class."""
    how = model.config.held_out
    if how is None or model.held_out is None:
        return []
    measured = (model.heldout_pcc, model.held_out.low, model.ceiling_pcc)
    classes = reliability_classes(*(each.cpu().numpy() for each in measured)).tolist()
    counts = ", ".join(f"{name}: {classes.count(name):,}" for name in CLASSES)
    drawn = {
        "patient": f"{how.units:,} patients and blocks of 1 mm of their spots",
        "spot-block": f"{how.units:,} blocks of 1 mm of spots, which says nothing of the next "
        "patient",
        "none": "nothing: there were too few spots to resample",
    }[how.interval]
    return [
        f"Genes by class (`docs/output-format.md`): {counts}. Intervals are over {drawn}. The "
        f"spread is scaled: {how.calibration}.",
        *_scales(model),
        *_distances(how),
    ]


def _scales(model: HyperGene) -> list[str]:
    """Say at which scale genes and modules may be read."""
    if model.config.held_out is None or not model.config.held_out.scales:
        return []
    rows = []
    for kind in ("gene", "module"):
        finest = readable_at(model, kind).tolist()
        rows.append(
            (f"{kind}s", *(f"{finest.count(scale):,}" for scale in (*RINGS_PITCH, NOWHERE)))
        )
    return [
        "Finest scale at which they may be read (class A or B): single spots, or means over the "
        "first ring or first two rings of neighbours, of truth and prediction alike:",
        _table(["", *RINGS_PITCH, NOWHERE], rows),
    ]


def _distances(how: HeldOutConfig) -> list[str]:
    """Say what ``ood_score`` is a percentile of."""
    of = {
        "patient": "patients that were held out",
        "section": "held-out sections of patients that were trained on: the next patient lies "
        "farther out, and is flagged for that alone",
        None: "the training spots themselves, which lie nearer than those of any new slide",
    }[how.distances]
    return [f"`ood_score` is a percentile of the distances of {of}."]


def _test(scores: pd.DataFrame | None) -> list[str]:
    if scores is None:
        return []
    numbers = ["pearson", "pearson_beyond_depth", "mse"]
    rows = [
        (*index, row["held_out"], *(f"{row[name]:.3f}" for name in numbers))
        for index, row in scores.iterrows()
    ]
    parts = [
        "Test samples, which chose nothing:",
        _table(["sample", "gene set", "held out", "Pearson", "beyond depth", "MSE"], rows),
    ]
    if (scores["held_out"] != "patient").any():
        parts.append(
            "Where only the section was held out, others of the same patient (or nobody knows) "
            "were trained on: **optimistic** for new patients."
        )
    return parts


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _size(module: nn.Module) -> str:
    return f"{sum(weights.numel() for weights in module.parameters()):,}"
