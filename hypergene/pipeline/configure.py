"""What the training samples decide about a model: its genes and its lattice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from hypergene import __version__
from hypergene.errors import DataError, UsageError
from hypergene.model.config import (
    EncoderConfig,
    LayoutConfig,
    ModelConfig,
    Provenance,
    first_problem,
)
from hypergene.pipeline.gene_choice import ChosenGenes
from hypergene.st import Sample
from hypergene.training.expression import Measured
from hypergene.training.recipe import Recipe
from hypergene.training.splits import Split


def configure(
    split: Split,
    used: Sequence[Sample],
    data: Mapping[str, Measured],
    genes: ChosenGenes,
    recipe: Recipe,
    encoder: EncoderConfig,
    name: str,
    counts_of: Sequence[Sample] = (),
) -> ModelConfig:
    """Put a model's configuration together.

    Parameters
    ----------
    split
        The samples by their part.
    used
        Those the final model learns from; they alone choose genes and lattice.
    data
        Measured samples by name.
    genes
        The model's genes.
    recipe
        How the model is trained.
    encoder
        The image encoder that the recipe asks for.
    name
        The model's name.
    counts_of
        Samples without slide that the final model's gene modules are fitted on, too.

    Raises
    ------
    DataError
        If the samples differ in layout.
    UsageError
        If parts of the recipe do not fit together, or not with the samples' lattice.
    """
    patients = {sample.patient for sample in used}
    provenance = Provenance(
        name=name,
        licence=recipe.about.licence,
        tissue=recipe.about.tissue,
        trained_on=tuple(sample.sample for sample in used),
        counts_of=tuple(sample.sample for sample in counts_of),
        patients=None if None in patients else len(patients),
        validated_on=tuple(sample.sample for sample in split.validation),
        validation=split.level,
        hypergene=__version__,
    )
    layout = recipe.layout or _shared_layout(used, data)
    try:
        return ModelConfig(
            provenance=provenance,
            encoder=encoder,
            layout=layout,
            niche=recipe.niche,
            geometry=recipe.geometry,
            head=recipe.head,
            readout=recipe.readout,
            genes=genes.names,
            gene_ids=genes.ids,
        )
    except ValidationError as error:
        _, problem = first_problem(error)
        raise UsageError(
            f"Parts of the recipe do not fit together: {problem}.",
            hint="docs/recipes.md says what each key needs.",
        ) from error


def _shared_layout(samples: Sequence[Sample], data: Mapping[str, Measured]) -> LayoutConfig:
    """Return the lattice that all samples share: the model's own."""
    layouts = {sample.sample: _layout(sample, data[sample.sample]) for sample in samples}
    (first_name, first), *others = layouts.items()
    for name, layout in others:
        if layout.lattice != first.lattice or abs(layout.pitch_um / first.pitch_um - 1) > 0.1:
            raise DataError(
                f"The samples differ in layout: {first_name} is {_in_words(first)}, "
                f"{name} is {_in_words(layout)}.",
                hint="Train them apart, or give one [layout] in the recipe.",
            )
    return first


def _layout(sample: Sample, measured: Measured) -> LayoutConfig:
    found = measured.uns["hypergene"].get("layout")
    if found is None:
        raise DataError(
            f"The spot layout of {sample.data} is not known.",
            hint="Give it in the recipe, e.g. [layout] name='visium' lattice='hexagon' "
            "shape='circle' diameter_um=55 pitch_um=100.",
        )
    if found["lattice"] == "given":  # spots of no known platform: a grid of their pitch
        return LayoutConfig(
            name="grid",
            lattice="square",
            shape="square",
            diameter_um=found["diameter_um"],
            pitch_um=found["pitch_um"],
        )
    return LayoutConfig(**{name: found[name] for name in LayoutConfig.model_fields})


def _in_words(layout: LayoutConfig) -> str:
    return f"{layout.name} ({layout.lattice}, {layout.pitch_um:g} µm apart)"
