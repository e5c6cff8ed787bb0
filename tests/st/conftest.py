from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hypergene.st import Sample

GENES = ["ERBB2", "FO538757.1", "KRT8", "IGKC", "COL1A1"]


@dataclass(frozen=True)
class Pair:
    """A small section in the HER2ST layout."""

    folder: Path
    counts: Path
    spots: Path
    slide: Path
    sample: Sample


@pytest.fixture(scope="session")
def counts_text() -> str:
    """3 × 4 spots at 10..13 x 5..7, all counts positive and different."""
    rows = [f"{x}x{y}" for x in range(10, 14) for y in range(5, 8)]
    lines = ["\t".join(["", *GENES])]
    for i, name in enumerate(rows):
        lines.append("\t".join([name, *(str(1 + i * len(GENES) + j) for j in range(len(GENES)))]))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def spots_text() -> str:
    """The same spots at a pitch of 290 px, and one (20x20) without counts."""
    lines = ["x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected"]
    for x, y in [*((x, y) for x in range(10, 14) for y in range(5, 8)), (20, 20)]:
        # new_x and new_y are nonsense here: nothing may depend on them.
        lines.append(f"{x}\t{y}\t-1\t-1\t{290.5 * x - 300}\t{290.5 * y + 40}\t1")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def write_pair(counts_text: str, spots_text: str) -> Callable[..., Pair]:
    def write(
        folder: Path,
        section: str = "X1",
        *,
        counts: str | bytes = counts_text,
        spots: str | bytes = spots_text,
        plain: bool = False,
        image: bool = True,
    ) -> Pair:
        table = folder / "ST-cnts" / f"{section}.tsv{'' if plain else '.gz'}"
        selection = folder / "ST-spotfiles" / f"{section}_selection.tsv"
        slide = folder / "ST-imgs" / section[0] / section / "he.jpg"
        for path in (table, selection, slide):
            path.parent.mkdir(parents=True, exist_ok=True)
        content = counts.encode() if isinstance(counts, str) else counts
        table.write_bytes(content if plain else gzip.compress(content, 1))
        selection.write_bytes(spots.encode() if isinstance(spots, str) else spots)
        if image:
            slide.write_bytes(b"the data side never opens the slide")
        sample = Sample(section, section[0], slide, table, "her2st", None, section)
        return Pair(folder, table, selection, slide, sample)

    return write


@pytest.fixture
def pair(tmp_path: Path, write_pair: Callable[..., Pair]) -> Pair:
    return write_pair(tmp_path)


@pytest.fixture(scope="session")
def assert_canonical() -> Callable[..., None]:
    """Check what every AnnData that comes out of read_sample must be."""

    def check(adata) -> None:
        counts = adata.layers["counts"]
        assert adata.n_obs > 0
        assert counts.format == adata.X.format == "csr"
        assert counts.dtype == np.int32
        assert adata.X.dtype == np.float32
        assert counts.shape == adata.X.shape == adata.shape
        assert (counts.data > 0).all()
        assert np.isfinite(adata.X.data).all()
        totals = np.asarray(counts.sum(axis=1)).ravel()
        assert (totals > 0).all()
        assert (adata.obs["total_counts"] == totals).all()
        np.testing.assert_allclose(adata.X.expm1().sum(axis=1), 1e4, rtol=1e-4)
        assert adata.obs_names.is_unique
        assert adata.var_names.is_unique
        assert {"in_tissue", "array_row", "array_col", "sample", "patient", "section"} <= set(
            adata.obs
        )
        assert adata.obsm["spatial"].shape == (adata.n_obs, 2)
        assert np.isfinite(adata.obsm["spatial"]).all()
        assert adata.uns["hypergene"]["units"].startswith("ln(1 + counts per 10,000)")

    return check
