"""What the training samples decide about a model: its genes, its lattice, and how it is scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from anndata import AnnData
from scipy import sparse

from hypergene import __version__
from hypergene.errors import DataError
from hypergene.evaluation import expressed, gene_sets, most_variable
from hypergene.model.config import LayoutConfig, ModelConfig, Provenance
from hypergene.st import Sample, shared_genes
from hypergene.training.assess import GeneSets
from hypergene.training.recipe import GeneChoice, Recipe
from hypergene.training.splits import Split


def configure(
    split: Split,
    used: Sequence[Sample],
    data: Mapping[str, AnnData],
    recipe: Recipe,
    name: str,
) -> ModelConfig:
    """Put a model's configuration together.

    Parameters
    ----------
    split
        The samples by their part.
    used
        Those the final model learns from; they alone choose genes and lattice.
    data
        Canonical AnnData by sample.
    recipe
        How the model is trained.
    name
        The model's name.

    Raises
    ------
    DataError
        If the samples share no gene that is detected often enough, or differ in layout.
    """
    tables = [data[sample.sample] for sample in used]
    genes = _choose_genes(tables, recipe.genes)
    patients = {sample.patient for sample in used}
    return ModelConfig(
        provenance=Provenance(
            name=name,
            licence=recipe.about.licence,
            tissue=recipe.about.tissue,
            trained_on=tuple(sample.sample for sample in used),
            patients=None if None in patients else len(patients),
            validated_on=tuple(sample.sample for sample in split.validation),
            validation=split.level,
            hypergene=__version__,
        ),
        encoder=recipe.encoder,
        layout=recipe.layout or _shared_layout(used, data),
        niche=recipe.niche,
        geometry=recipe.geometry,
        head=recipe.head,
        genes=genes,
        gene_ids=_gene_ids(tables, genes),
    )


def sets_to_score(tables: Sequence[AnnData], genes: Sequence[str]) -> GeneSets:
    """Choose the protocol's gene sets on training samples, among the genes of a model.

    Parameters
    ----------
    tables
        Canonical AnnData of the samples that were trained on, and of no other.
    genes
        The model's genes.

    Returns
    -------
    dict
        Set name -> symbols; sets without a gene are left out.
    """
    shared = shared_genes([adata.var_names for adata in tables])
    known = set(genes)
    sets = {
        name: [gene for gene in members if gene in known]
        for name, members in gene_sets(_pooled(tables, shared), shared).items()
    }
    return {name: members for name, members in sets.items() if members} or {"all": list(genes)}


def _choose_genes(tables: Sequence[AnnData], choice: GeneChoice) -> tuple[str, ...]:
    shared = shared_genes([adata.var_names for adata in tables])
    if not shared:
        raise DataError(
            "The samples to train on have no gene in common.",
            hint="Are all of them of one species, and named by the same kind of symbol?",
        )
    pooled = _pooled(tables, shared)
    among = expressed(pooled, min_share=choice.min_detected)
    if not among.any():
        raise DataError(
            f"None of the {len(shared):,} genes that the samples to train on have in common is "
            f"detected in {choice.min_detected:.0%} of their spots.",
            hint="Lower it with --set genes.min_detected=0.02.",
        )
    if choice.most is None:
        columns = np.flatnonzero(among)
    else:
        columns = np.sort(most_variable(pooled, choice.most, among))
    return tuple(shared[column] for column in columns)


def _gene_ids(tables: Sequence[AnnData], genes: Sequence[str]) -> tuple[str, ...] | None:
    """Return Ensembl identifiers ("" = unknown) by the first table that has some."""
    for adata in tables:
        if "gene_ids" in adata.var:
            ids = adata.var["gene_ids"].loc[list(genes)]
            return tuple(ids.astype(object).fillna("").astype(str))
    return None


def _pooled(tables: Sequence[AnnData], genes: Sequence[str]) -> sparse.csr_matrix:
    """Stack log1p CP10k of all spots, (spots, genes)."""
    return sparse.vstack([adata[:, list(genes)].X for adata in tables], format="csr")


def _shared_layout(samples: Sequence[Sample], data: Mapping[str, AnnData]) -> LayoutConfig:
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


def _layout(sample: Sample, adata: AnnData) -> LayoutConfig:
    found = adata.uns["hypergene"].get("layout")
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
    return LayoutConfig(**found)


def _in_words(layout: LayoutConfig) -> str:
    return f"{layout.name} ({layout.lattice}, {layout.pitch_um:g} µm apart)"
