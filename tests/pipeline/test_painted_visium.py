"""The painted cohort is one that the readers take, and its counts follow its pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hypergene.errors import OutputError
from hypergene.pipeline.data_check import DataCheckOptions, check_samples
from hypergene.pipeline.painted_visium import PATIENTS, PROGRAMMES, gene_names, write_painted_visium
from hypergene.st import read_sample, read_samples


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_painted_visium(tmp_path_factory.mktemp("example") / "cohort")


def test_data_check_has_nothing_against_it(sheet: Path) -> None:
    found = check_samples(sheet, DataCheckOptions())
    assert found.verdicts == ()
    assert {row.patient for row in found.rows} == set(PATIENTS)
    assert len(found.rows) == 2 * len(PATIENTS)


def test_genes_follow_what_was_painted(sheet: Path) -> None:
    sample = read_samples(sheet)[0]
    adata = read_sample(sample)
    assert list(adata.var_names) == gene_names()
    assert adata.n_obs > 80
    counts = adata.X.toarray()
    share = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    programme = np.repeat(list(PROGRAMMES), list(PROGRAMMES.values()))
    assert sample.slide is not None
    with Image.open(sample.slide) as picture:
        grey = np.asarray(picture.convert("L"), dtype=float)
    darkness = [-grey[y - 20 : y + 20, x - 20 : x + 20].mean()
                for x, y in adata.obsm["spatial"].astype(int)]  # fmt: skip
    tumour = np.corrcoef(darkness, share[:, programme == "TUMOUR"].mean(axis=1))[0, 1]
    stroma = np.corrcoef(darkness, share[:, programme == "STROMA"].mean(axis=1))[0, 1]
    assert tumour > 0.6, "nuclei are crowded and dark in the tumour"
    assert stroma < -0.4


def test_it_says_that_it_is_painted(sheet: Path) -> None:
    assert "No tissue, no measurement" in (sheet.parent / "README.txt").read_text()


def test_it_replaces_nothing(sheet: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        write_painted_visium(sheet.parent)
