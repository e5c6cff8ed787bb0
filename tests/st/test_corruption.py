"""Whatever happens to a file of any layout, a reader gives valid data or one sentence.

Damage is drawn from a seed, so that ``tests/fuzz_layouts.py --layout L --seed S --mutants 1``
repeats a failure on its own, under its own process.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from layouts.damage import copy_of, damage, is_readable, writers
from layouts.made import made_section

from hypergene.errors import HypergeneError
from hypergene.st import Sample, read_sample

# Stores of many small files take longer to copy and to read.
EXAMPLES = {"spatialdata": 6, "zarr": 6, "xenium": 15, "visium-hd": 15}
WRITERS = writers()


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory):
    """Write a layout once; tests work on copies."""

    @cache
    def write(layout: str) -> tuple[Sample, Path]:
        folder = tmp_path_factory.mktemp(layout)
        return WRITERS[layout](folder, made_section("A1")), folder

    return write


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_a_damaged_layout_gives_one_sentence_or_valid_data(layout, written, assert_canonical):
    sample, origin = written(layout)
    if not is_readable(sample):
        pytest.skip(f"no format {sample.format}")
    assert_canonical(read_sample(sample))

    @settings(
        max_examples=EXAMPLES.get(sample.format, 40),
        deadline=20_000,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.integers(0, 2**32))
    def check(seed: int) -> None:
        with tempfile.TemporaryDirectory(dir=origin.parent) as name:
            folder = Path(name)
            copied = copy_of(sample, origin, folder)
            note(damage(copied, folder, seed))
            try:
                adata = read_sample(copied)
            except HypergeneError as sentence:
                assert "\n" not in sentence.message + (sentence.hint or "")
                assert str(folder) in sentence.message
            else:
                assert_canonical(adata)

    check()


def test_every_layout_of_this_project_is_among_them():
    assert {"her2st", "tables-stnet", "tables-transposed-csv"} <= set(WRITERS)
