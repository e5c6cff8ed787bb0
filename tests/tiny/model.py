"""A model with random weights, whose predictions vary from spot to spot."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from hypergene.features.context import context_spots
from hypergene.features.encode import encode_spots
from hypergene.model.network import HyperGene
from hypergene.slide import open_slide, whole_slide
from hypergene.zoo import write_model
from tiny.config import TINY, tiny_config

TINY_GENES = [
    *("ERBB2", "GRB7", "KRT8", "KRT18", "EPCAM", "MUC1", "CD24", "ESR1", "COL1A1", "COL3A1"),
    *("DCN", "LUM", "VIM", "SPARC", "IGKC", "CD74", "ACTB", "GAPDH", "MALAT1", "B2M"),
]


def write_tiny_model(folder: Path, painted_slide: Path) -> Path:
    """Write the model folder; the slide says what its features usually are."""
    count = len(TINY_GENES)
    config = tiny_config(
        provenance={"name": "tiny", "licence": "CC0-1.0", "tissue": "painted"},
        encoder=TINY["encoder"] | {"tile_um": (112.0, 300.0)},
        geometry={"dim": 8},
        genes=tuple(TINY_GENES),
        gene_ids=tuple(f"ENSG{number:011}" for number in range(count)),
    )
    torch.manual_seed(0)
    model = HyperGene(config).eval()
    genes = model.modules_to_genes
    with torch.no_grad():
        for weights, spread in (
            (model.head.mean.weight, 1.0),
            (model.head.log_variance.weight, 0.5),
            (model.ridge.weight, 0.3),
            (genes.loadings, 0.5),
        ):
            nn.init.normal_(weights, std=spread)
        model.ridge.share.fill_(0.5)
        genes.mean.uniform_(1, 3)
        genes.residual_variance.uniform_(0.1, 0.5)
        model.heldout_pcc.copy_(torch.linspace(-0.1, 0.8, count))
        model.ceiling_pcc.fill_(0.9)
        model.reliable.copy_(model.heldout_pcc > 0.3)
    with open_slide(painted_slide) as slide:
        spots = context_spots(slide, whole_slide(slide), config)
        encoding = encode_spots(
            slide,
            spots.xy_px,
            model.encoder,
            tile_um=config.encoder.tile_um,
            tile_px=config.encoder.tile_px,
            device=torch.device("cpu"),
        )
    model.reference.fit(torch.from_numpy(encoding.features))
    folder.mkdir()
    write_model(folder, model, "# tiny\n")
    return folder
