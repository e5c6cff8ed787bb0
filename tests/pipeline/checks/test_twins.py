"""A section is known again under any names and after any processing; a neighbour is not it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.ndimage import gaussian_filter

from hypergene.pipeline.checks.twins import (
    SAME_DEPTH,
    Sketch,
    Twin,
    find_twins,
    same_slides,
    sketch,
    twin_verdicts,
)
from hypergene.st import Sample, read_sample

GENES = 60


def canonical(counts: Any, places: np.ndarray, *, array: bool = True, **about: Any) -> AnnData:
    """Counts at places (column, row) of an array; without `array` only the positions tell."""
    counts = sparse.csr_matrix(counts)
    obs = pd.DataFrame(
        {
            "array_col": places[:, 0] if array else -1,
            "array_row": places[:, 1] if array else -1,
            "total_counts": np.asarray(counts.sum(axis=1)).ravel(),
        },
        index=[f"s{i}" for i in range(len(places))],
    )
    return AnnData(
        obs=obs,
        layers={"counts": counts.astype(np.int32)},
        obsm={"spatial": places * 290.0 + 1234.5},
        uns={"hypergene": {"pitch_px": 290.0} | about},
    )


def tissue(seed: int, patient: int = 0, side: int = 18) -> AnnData:
    """A section whose depth is smooth, like its neighbours of the patient, with its own noise."""
    column, row = np.meshgrid(np.arange(side), np.arange(side))
    places = np.column_stack([column.ravel(), row.ravel()]) + 3
    shared = gaussian_filter(np.random.default_rng(100 + patient).normal(size=(side, side)), 3)
    rng = np.random.default_rng(seed)
    depth = (shared - shared.mean()) / shared.std() * 0.5 + rng.normal(0, 0.3, shared.shape)
    level = rng.gamma(1.0, size=GENES)
    rate = 3000 * np.outer(np.exp(depth.ravel()), level / level.sum())
    return canonical(rng.poisson(rate), places)


def changed(
    adata: AnnData,
    seed: int = 0,
    *,
    genes: float = 0.9,
    thinned: float = 0.95,
    spots: float = 0.7,
    turn: int = 0,
    array: bool = True,
) -> AnnData:
    """Copy a section as another processing would: genes, counts, spots, order and array."""
    rng = np.random.default_rng(seed)
    number = adata.layers["counts"].shape[1]
    counts = adata.layers["counts"][:, rng.permutation(number)[: round(genes * number)]]
    counts.data = rng.binomial(counts.data, thinned).astype(np.int32)
    kept = np.flatnonzero(np.asarray(counts.sum(axis=1)).ravel())
    kept = rng.permutation(kept)[: round(spots * len(kept))]
    places = adata.obs[["array_col", "array_row"]].to_numpy()
    if turn % 2:
        places = places[:, ::-1]
    places = places * [1 - 2 * (turn // 2 % 2), 1 - 2 * (turn // 4 % 2)]
    places = places - places.min(axis=0) + rng.integers(0, 9, 2)
    return canonical(counts[kept], places[kept], array=array)


def found_in(**sections: AnnData) -> list[tuple[tuple[str, str], str]]:
    twins = find_twins({name: sketch(adata) for name, adata in sections.items()})
    return [(twin.samples, twin.what) for twin in twins]


def test_a_copy_with_other_names_order_and_spots_is_the_same_data():
    one = tissue(0)
    order = np.random.default_rng(1).permutation(one.n_obs)[:150]
    counts = one.layers["counts"][order][:, ::-1]
    with_empty_genes = sparse.hstack([counts, sparse.csr_matrix((150, 40))])
    places = one.obs[["array_col", "array_row"]].to_numpy()[order]
    other = canonical(with_empty_genes, places)
    assert found_in(A=one, B=other) == [(("A", "B"), "data")]
    # Nor does it take an array: the positions of these are on no lattice.
    nowhere = canonical(counts, places, array=False)
    nowhere.obsm["spatial"] = np.random.default_rng(0).uniform(0, 9000, (150, 2))
    assert found_in(A=one, B=nowhere) == [(("A", "B"), "data")]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), turn=st.integers(0, 7), array=st.booleans())
def test_a_section_processed_otherwise_is_the_same_tissue(seed: int, turn: int, array: bool):
    one = tissue(seed)
    other = changed(one, seed, turn=turn, spots=0.7 if array else 1.0, array=array)
    (twin,) = find_twins({"A": sketch(one), "B": sketch(other), "C": sketch(tissue(seed + 1))})
    assert (twin.samples, twin.what) == (("A", "B"), "tissue")
    assert twin.likeness > 0.97
    assert twin.spots == other.n_obs


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_neighbouring_sections_are_not_the_same(seed: int):
    depths = [np.log(tissue(seed + i).obs["total_counts"]) for i in range(2)]
    assert np.corrcoef(*depths)[0, 1] > 0.4  # they are alike
    assert found_in(A=tissue(seed), B=tissue(seed + 1), C=tissue(seed + 2, patient=1)) == []


def test_bins_of_two_sizes_of_one_section_are_the_same_tissue():
    rng = np.random.default_rng(0)
    column, row = np.meshgrid(np.arange(160), np.arange(160))
    places = np.column_stack([column.ravel(), row.ravel()])
    depth = gaussian_filter(rng.normal(size=(160, 160)), 6)
    fine = rng.poisson(8 * np.exp(depth / depth.std())).reshape(80, 2, 80, 2)
    coarse = fine.sum(axis=(1, 3)).reshape(-1, 1)
    half = np.column_stack([axis.ravel() for axis in np.meshgrid(np.arange(80), np.arange(80))])
    layout = {"name": "grid", "lattice": "square", "shape": "square", "diameter_um": 8.0}
    eight = canonical(fine.reshape(-1, 1) + 1, places, layout=layout | {"pitch_um": 8.0})
    sixteen = canonical(coarse + 4, half, layout=layout | {"pitch_um": 16.0})
    assert len(sketch(eight).places) <= 13 * 13
    assert found_in(A=eight, B=sixteen) == [(("A", "B"), "tissue")]


def test_too_few_or_depthless_spots_say_nothing():
    few = tissue(0, side=4)
    assert found_in(A=few, B=changed(few)) == []
    flat = canonical(np.ones((100, 5)), np.indices((10, 10)).reshape(2, -1).T)
    assert found_in(A=flat, B=flat.copy()) == []
    # Shallow spots are alike by chance: counting them one by one proves nothing.
    rng = np.random.default_rng(0)
    shallow = [rng.poisson(0.05, (400, 200)) + np.eye(400, 200, dtype=int) for _ in range(2)]
    places = [rng.permutation(tissue(0, side=20).obs[["array_col", "array_row"]]) for _ in "AB"]
    assert found_in(**{n: canonical(*x) for n, *x in zip("AB", shallow, places)}) == []  # noqa: B905


def test_a_sketch_is_small_and_three_hundred_are_compared_in_seconds():
    row, column = np.indices((64, 78)).reshape(2, -1)
    places = np.column_stack([2 * column + row % 2, row]).astype(np.int64)
    rng = np.random.default_rng(0)
    sketches = {}
    for index in range(60):
        depth = gaussian_filter(rng.normal(size=(64, 78)), 4).ravel()
        depth = depth / depth.std() + rng.normal(0, 0.5, depth.size)
        rank = (np.argsort(np.argsort(depth)) / depth.size).astype(np.float32)
        prints = np.sort(rng.integers(0, 2**63, 5000).astype(np.uint64))
        sketches[str(index)] = Sketch(places, rank, prints)
    assert sum(part.nbytes for part in vars(sketches["0"]).values()) < 200_000
    start = time.perf_counter()
    assert find_twins(sketches) == []
    # 60 samples are 1,770 pairs, 300 are 44,850: 25 times as many, in less than a minute anywhere.
    assert time.perf_counter() - start < 2.4


def test_more_spots_than_a_sketch_holds_are_pooled():
    places = np.indices((300, 300)).reshape(2, -1).T
    depth = gaussian_filter(np.random.default_rng(0).normal(size=(300, 300)), 5).ravel()
    counts = np.rint(500 * np.exp(depth / depth.std() / 2)).astype(int)[:, None]
    kept = sketch(canonical(counts, places))
    assert 5_000 < len(kept.places) <= 20_000
    assert len(kept.prints) <= 5000


@pytest.mark.parametrize(
    ("patients", "level"),
    [({"A": "P1", "B": "P2"}, "fail"), ({"A": "P1", "B": "P1"}, "warn"), ({}, "fail"),
     ({"A": None, "B": None}, "fail")],
)  # fmt: skip
def test_the_same_tissue_fails_unless_a_split_keeps_it_together(patients: Any, level: str):
    (verdict,) = twin_verdicts([Twin(("A", "B"), "tissue", 300, 0.9987)], patients)
    assert (verdict.level, verdict.code, verdict.samples) == (level, "same_tissue", ("A", "B"))
    assert "300 common spots have a rank correlation of 0.999" in verdict.message
    assert f"{SAME_DEPTH}" in verdict.message
    assert ("same patient" in verdict.fix) == (level == "fail")


def test_the_same_data_fails_also_within_one_patient():
    twins = [Twin(("A", "B"), "data", 250, 0.98)]
    (verdict,) = twin_verdicts(twins, {"A": "P1", "B": "P1"})
    assert (verdict.level, verdict.code) == ("fail", "same_data")
    assert "98% of the spots" in verdict.message


def test_an_image_copied_under_another_name_is_known_by_its_content(tmp_path: Path):
    one, other, third = (tmp_path / name for name in ("a.svs", "b.tif", "c.svs"))
    one.write_bytes(np.random.default_rng(0).bytes(100_000))
    shutil.copy(one, other)
    third.write_bytes(one.read_bytes()[::-1])
    slides = {"A": one, "B": other, "C": third, "D": None, "E": tmp_path / "missing.svs"}
    (verdict,) = same_slides(slides)
    assert (verdict.level, verdict.code, verdict.samples) == ("warn", "same_slide", ("A", "B"))
    assert str(one) in verdict.message
    assert same_slides({"A": one, "C": third, "D": None}) == []


def test_of_real_sections_only_the_changed_copy_is_a_twin(shared_data: Path):
    folder = shared_data / "her2st" / "ST-cnts"
    sections = {}
    for name in ("B1", "B3", "B4", "B6", "C1", "C5"):
        data = folder / f"{name}.tsv.gz"
        sections[name] = read_sample(Sample(name, name[0], None, data, "her2st", None, name))
    twins = find_twins(
        {name: sketch(adata) for name, adata in sections.items()}
        | {"BC1": sketch(changed(sections["B4"], turn=1))}
    )
    assert [(twin.samples, twin.what) for twin in twins] == [(("B4", "BC1"), "tissue")]
    assert twins[0].likeness > 0.99
