"""The folder of a tiny model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tiny.config import tiny_config

from hypergene.model.network import HyperGene
from hypergene.zoo import write_model


@pytest.fixture(scope="session")
def tiny_model() -> HyperGene:
    """A model whose every tensor holds numbers of its own."""
    config = tiny_config(
        provenance={"name": "tiny", "patients": 2, "trained_on": ["A1", "B1"]},
        geometry={"dim": 4},
        head={"modules": 3},
        genes=["ERBB2", "HLA-DRA", "µ-gene"],
        gene_ids=["ENSG1", "ENSG2", "ENSG3"],
    )
    torch.manual_seed(0)
    model = HyperGene(config)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.dtype.is_floating_point:
                tensor.uniform_(0.1, 1.0)
        model.heldout_pcc[1] = float("nan")  # a gene that could not be scored
        model.reliable[0] = True
    return model.eval()


@pytest.fixture(scope="session")
def pristine(tiny_model: HyperGene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    write_model(folder, tiny_model, "# tiny\n")
    return folder


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the model's folder, to be damaged."""
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))
