"""Measured samples that a test makes up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from hypergene.st import Sample
from hypergene.training.expression import Measured

LAYOUTS = {
    "st": {"name": "st", "lattice": "square", "diameter_um": 100.0, "pitch_um": 200.0},
    "visium": {"name": "visium", "lattice": "hexagon", "diameter_um": 55.0, "pitch_um": 100.0},
    "given": {"name": "given", "lattice": "given", "diameter_um": 60.0, "pitch_um": 120.0},
}


@dataclass(frozen=True, eq=False)
class InMemory:
    """Tables that are on no disk."""

    table: sparse.csr_matrix

    def log(self) -> sparse.csr_matrix:
        return self.table

    def counts(self) -> sparse.csr_matrix:
        return self.table.astype(np.int32)


@pytest.fixture(scope="session")
def make_measured() -> Callable[..., Measured]:
    """A sample that measured genes (names, and identifiers if any), spots × genes."""

    def make(
        genes: list[str],
        values: Any,
        layout: str | None = "st",
        *,
        name: str = "s0",
        patient: str | None = None,
        ids: list[str | None] | None = None,
    ) -> Measured:
        table = sparse.csr_matrix(np.asarray(values, np.float32))
        var = pd.DataFrame(index=pd.Index(genes, dtype=object))
        if ids is not None:
            var["gene_ids"] = ids
        about = {} if layout is None else {"layout": {**LAYOUTS[layout], "shape": "circle"}}
        return Measured(
            sample=Sample(name, patient, Path(name), Path(f"{name}.tsv"), "her2st", None, name),
            obs=pd.DataFrame(index=[f"spot{i}" for i in range(table.shape[0])]),
            var=var,
            xy_px=np.zeros((table.shape[0], 2)),
            uns={"hypergene": about},
            tables=InMemory(table),
            fingerprint=name,
        )

    return make
