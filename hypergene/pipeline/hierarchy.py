"""A picture of the hierarchy that a model has learnt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hypergene.errors import OutputError
from hypergene.model.network import HyperGene
from hypergene.output import atomic_path
from hypergene.report.hierarchy import SectionHierarchy, draw_hierarchy_figure
from hypergene.training.assess import EncodedSection

DPI = 130


def draw_hierarchy(
    model: HyperGene,
    encoded: Sequence[EncodedSection],
    scores: Sequence[NDArray[np.float32]],
    device: torch.device,
    out: Path,
) -> None:
    """Draw radii by level, radii against richness, and archetypes over tissue, as a PNG.

    The picture shows spots alone: no pixel of a slide is in it. A picture that is there already is
    replaced.

    Parameters
    ----------
    model
        The trained model.
    encoded
        Sections encoded by this model, at least one.
    scores
        One (n, modules) float32 a section: standardised module scores of its spots.
    device
        Where the model is.
    out
        The file, by custom ``hierarchy.png``.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    geometry, layout = model.config.geometry, model.config.layout
    lorentz = geometry.kind == "lorentz"
    space = (
        f"Lorentz model, curvature −{float(model.space.curvature.detach()):.2f}"
        if lorentz
        else "Euclidean twin"
    )
    figure = draw_hierarchy_figure(
        [
            _hierarchy(model, section, own, device)
            for section, own in zip(encoded, scores, strict=True)
        ],
        archetypes=geometry.archetypes,
        pitch_um=layout.pitch_um,
        shape=layout.shape,
        unit="hyperbolic length" if lorentz else "Euclidean length",
        title=f"{model.config.provenance.name}: learned hierarchy ({space})",
    )
    try:
        with atomic_path(out, overwrite=True) as draft:
            figure.savefig(draft, format="png", dpi=DPI)
    except OSError as error:
        raise OutputError(
            f"The picture {out} cannot be written ({error.strerror or error}).",
            hint="Free some space, or choose another folder.",
        ) from error


@torch.inference_mode()
def _hierarchy(
    model: HyperGene,
    encoded: EncodedSection,
    scores: NDArray[np.float32],
    device: torch.device,
) -> SectionHierarchy:
    section, space = encoded.section, model.space
    image = model.view(torch.from_numpy(encoded.features).to(device), encoded.around(device))
    expression, around = (
        torch.from_numpy(np.asarray(table, np.float32)).to(device)
        for table in (scores, section.neighbours @ scores)
    )
    points = {
        "image niche": image.niche,
        "image spot": image.spot,
        "gene niche": space.lift_gene(model.gene_niche(around)),
        "gene spot": space.lift_gene(model.gene_spot(expression)),
    }
    archetype = None
    if model.archetypes is not None:
        weights = model.archetypes(image.spot, space.curvature).weights
        archetype = weights.argmax(1).cpu().numpy()
    return SectionHierarchy(
        name=section.name,
        xy_um=section.xy_um,
        radius={level: space.radius(point).cpu().numpy() for level, point in points.items()},
        genes_detected=np.asarray((section.expression.counts() > 0).sum(1)).ravel(),
        archetype=archetype,
    )
