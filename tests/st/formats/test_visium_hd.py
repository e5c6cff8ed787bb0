from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts.made import MPP, SYMBOLS, made_section
from layouts.spaceranger import write_h5, write_mtx, write_scale_factors
from layouts.visium_hd import WRITERS, array_to_px, draw, made_bins, write_square
from scipy import sparse

from hypergene.errors import DataError
from hypergene.st import read_sample
from hypergene.st.formats import format_of, spaceranger, visium_hd
from hypergene.st.formats.visium_hd import read, recognises

MADE = made_section()
FILTERED = "filtered_feature_bc_matrix.h5"
Y, X = "pxl_row_in_fullres", "pxl_col_in_fullres"


def _outs(folder: Path, positions: pd.DataFrame, bin_um: int = 8) -> Path:
    """Write one binning; its folder is two below."""
    write_square(folder, bin_um, positions, draw(MADE, positions))
    return folder


def _square(outs: Path, bin_um: int = 8) -> Path:
    return outs / "binned_outputs" / f"square_{bin_um:03d}um"


def _dense_sums(
    positions: pd.DataFrame, counts: np.ndarray, pooled: int
) -> dict[tuple[int, int], np.ndarray]:
    """Sum the slow way: the counts of the bins in the tissue, by square."""
    frame = pd.DataFrame(counts * positions["in_tissue"].to_numpy()[:, None])
    keys = [positions["array_row"] // pooled, positions["array_col"] // pooled]
    return {key: rows.to_numpy().sum(axis=0) for key, rows in frame.groupby(keys)}


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_gives_thirty_spots_of_the_size_it_says(tmp_path, layout, assert_canonical):
    sample = WRITERS[layout](tmp_path, MADE)
    assert format_of(sample.data) == sample.format == "visium-hd"
    adata = read_sample(sample)
    assert_canonical(adata)
    assert adata.shape == (30, len(SYMBOLS))
    side_um = {"visium-hd-8": 8, "visium-hd-16-folder": 16, "visium-hd-pooled": 56}[layout]
    about = adata.uns["hypergene"]
    assert about["layout"] == {
        "name": f"visium-hd-{side_um}",
        "lattice": "square",
        "diameter_um": side_um,
        "pitch_um": side_um,
        "shape": "square",
        "orientation_deg": 0.0,
    }
    assert about["platform"] == "visium-hd"
    assert about["mpp"] == [MPP, MPP]
    assert about["mpp_source"] == "scalefactors_json.json microns_per_pixel"
    assert about["pitch_px"] == pytest.approx(side_um / MPP)
    assert about["spot_diameter_px"] == side_um / MPP
    assert "warnings" not in about
    degrees = {8: 0, 16: 10, 56: 5}[side_um]
    array_xy = adata.obs[["array_col", "array_row"]].to_numpy()
    np.testing.assert_allclose(
        adata.obsm["spatial"], array_to_px(array_xy, side_um, degrees), atol=1e-6
    )


def test_bins_of_8_um_are_read_as_they_are_if_nobody_says(tmp_path):
    sample = WRITERS["visium-hd-8"](tmp_path, MADE)
    adata = read(sample.data)
    positions = made_bins(8, 7, 5, first=(5, 10))[:30]
    assert list(adata.obs_names) == positions["barcode"].tolist()
    assert adata.obs_names[0] == "s_008um_00005_00010-1"
    np.testing.assert_array_equal(adata.obsm["spatial"], positions[[X, Y]])
    np.testing.assert_array_equal(adata.obs["array_row"], positions["array_row"])
    about = adata.uns["hypergene"]
    assert about["counts_from"] == f"square_008um/{FILTERED}"
    assert "pooling" not in about
    assert about["dropped"]["positions_without_counts"] == 5


@pytest.fixture(scope="module")
def scanpy():
    return pytest.importorskip("scanpy")


def test_scanpy_reads_the_same_counts(tmp_path, scanpy):
    sample = WRITERS["visium-hd-16-folder"](tmp_path, MADE)
    theirs, ours = scanpy.read_10x_h5(sample.data / FILTERED), read(sample.data)
    assert list(theirs.obs_names) == list(ours.obs_names)
    assert list(theirs.var_names) == list(ours.var_names)
    np.testing.assert_array_equal(theirs.X.toarray(), ours.X.toarray())


def test_the_run_the_outs_the_bins_and_one_folder_are_the_same_data(tmp_path):
    sample = WRITERS["visium-hd-8"](tmp_path, MADE)
    outs = sample.data / "outs"
    usual = read(sample.data)
    square = _square(outs)
    for data in (outs, outs / "binned_outputs", square, square / FILTERED):
        assert recognises(data), data
        assert not spaceranger.recognises(data), data
        other = read(data)
        np.testing.assert_array_equal(other.X.toarray(), usual.X.toarray())
        assert list(other.obs_names) == list(usual.obs_names)


def test_folders_of_bins_may_lie_without_binned_outputs_around_them(tmp_path):
    outs = _outs(tmp_path, made_bins(8, 6, 5))
    shutil.move(_square(outs), tmp_path / "unpacked" / "square_008um")
    assert recognises(tmp_path / "unpacked")
    assert read(tmp_path / "unpacked").n_obs == 30


@pytest.mark.parametrize("path", ["", "outs", "outs/filtered_feature_bc_matrix.h5", "none/x"])
def test_other_paths_are_not_recognised(tmp_path, path):
    (tmp_path / "outs" / "spatial").mkdir(parents=True)
    assert not recognises(tmp_path / path)


def test_one_folder_gives_its_own_bins_unless_told_otherwise(tmp_path):
    sample = WRITERS["visium-hd-8"](tmp_path, MADE)
    square = _square(sample.data / "outs", 2)
    assert read(square).uns["hypergene"]["layout"]["name"] == "visium-hd-2"
    pooled = read(square, spot_um=8).uns["hypergene"]
    assert pooled["layout"]["name"] == "visium-hd-8"
    assert pooled["counts_from"].startswith("square_002um/")


@pytest.mark.parametrize(
    ("spot_um", "bin_um"), [(2, 2), (4, 2), (8, 8), (10, 2), (16, 16), (24, 8), (32, 16), (14, 2)]
)
def test_the_coarsest_binning_that_divides_the_side_is_taken(tmp_path, spot_um, bin_um):
    for size in (2, 8, 16):
        _outs(tmp_path, made_bins(size, 4, 4), size)
    about = read(tmp_path, spot_um=spot_um).uns["hypergene"]
    assert about["counts_from"] == f"square_{bin_um:03d}um/{FILTERED}"
    assert about["layout"]["pitch_um"] == spot_um
    assert about["spot_diameter_px"] == pytest.approx(spot_um / MPP)
    assert ("pooling" in about) == (spot_um != bin_um)


@pytest.mark.parametrize("spot_um", [1, 3, 7.5, 20, 0, -8, float("nan"), float("inf")])
def test_a_side_that_no_binning_divides_is_an_error_with_the_sizes_there_are(tmp_path, spot_um):
    for size in (8, 16):
        _outs(tmp_path, made_bins(size, 4, 4), size)
    with pytest.raises(DataError, match=r"has bins of 8, 16 µm, of which no spots of") as raised:
        read(tmp_path, spot_um=spot_um)
    assert "56" in str(raised.value.hint)


# -- pooling --


@settings(deadline=None, max_examples=25)
@given(
    pooled=st.integers(1, 6),
    first=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    degrees=st.floats(0, 360),
    seed=st.integers(0, 99),
)
def test_pooled_spots_have_the_sums_centres_and_tissue_of_their_squares(
    pooled, first, degrees, seed
):
    rng = np.random.default_rng(seed)
    positions = made_bins(8, 13, 11, first=first, degrees=degrees)
    positions["in_tissue"] = (rng.random(len(positions)) < 0.6).astype(int)
    positions.loc[0, "in_tissue"] = 1
    # Bins that the positions lack altogether, as at the edge of the array.
    positions = positions[rng.random(len(positions)) < 0.9].reset_index(drop=True)
    positions = positions.sample(frac=1, random_state=seed, ignore_index=True)
    counts = rng.poisson(0.5, (len(positions), len(SYMBOLS))).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        write_square(Path(folder), 8, positions, sparse.csr_matrix(counts))
        adata = read(Path(folder), spot_um=8 * pooled)
    expected = _dense_sums(positions, counts, pooled)
    tissue = positions.groupby([positions["array_row"] // pooled, positions["array_col"] // pooled])
    tissue = tissue["in_tissue"].sum()
    keys = list(zip(adata.obs["array_row"], adata.obs["array_col"], strict=True))
    assert set(keys) == set(tissue.index[tissue > 0])
    assert keys == sorted(keys)
    for i, key in enumerate(keys):
        np.testing.assert_array_equal(adata.X[i].toarray()[0], expected[key])
        assert adata.obs["in_tissue"].iloc[i] == (tissue[key] >= pooled**2 / 2)
    array_xy = adata.obs[["array_col", "array_row"]].to_numpy()
    np.testing.assert_allclose(
        adata.obsm["spatial"], array_to_px(array_xy, 8 * pooled, degrees), atol=1e-6
    )
    if pooled > 1:
        assert list(adata.obs_names) == [f"s_{8 * pooled:03d}um_{r:05d}_{c:05d}" for r, c in keys]


def test_a_spot_is_in_the_tissue_from_exactly_half_of_its_bins_on(tmp_path):
    positions = made_bins(8, 2, 6)
    square = positions["array_col"] // 2
    number = positions.groupby(square).cumcount()
    positions["in_tissue"] = (number < square + 1).astype(int)  # 1, 2 and 3 of 4
    adata = read(_outs(tmp_path, positions), spot_um=16)
    assert adata.obs["in_tissue"].tolist() == [0, 1, 1]
    assert "at least half of its bins" in adata.uns["hypergene"]["pooling"]


def test_bins_off_the_tissue_add_nothing_even_from_a_raw_matrix(tmp_path, caplog):
    positions = made_bins(8, 2, 2)
    positions["in_tissue"] = [1, 1, 1, 0]
    square = _square(_outs(tmp_path, positions))
    filtered = read(tmp_path, spot_um=16)
    counts = draw(MADE, positions)
    write_h5(square / "raw_feature_bc_matrix.h5", counts, positions["barcode"].tolist())
    (square / FILTERED).unlink()
    raw = read(tmp_path, spot_um=16)
    np.testing.assert_array_equal(raw.X.toarray(), filtered.X.toarray())
    np.testing.assert_array_equal(raw.X.toarray()[0], counts.toarray()[:3].sum(axis=0))
    assert raw.uns["hypergene"]["dropped"]["bins_outside_tissue"] == 1
    assert "raw counts" in raw.uns["hypergene"]["warnings"][0]
    assert "raw counts" in caplog.text


def test_a_cameras_perspective_moves_no_centre_of_a_whole_square(tmp_path):
    positions = made_bins(8, 30, 30)
    tilt = 1 + 2e-4 * positions["array_col"]
    positions[X], positions[Y] = positions[X] / tilt, positions[Y] / tilt
    adata = read(_outs(tmp_path, positions), spot_um=24)
    square = [positions["array_row"] // 3, positions["array_col"] // 3]
    expected = positions.groupby(square)[[X, Y]].mean().to_numpy()
    np.testing.assert_allclose(adata.obsm["spatial"], expected, atol=1e-9)


def test_one_line_of_bins_and_one_bin_have_places_but_no_pitch(tmp_path):
    line = read(_outs(tmp_path / "line", made_bins(8, 1, 4)))
    assert line.n_obs == 4
    assert "pitch_px" not in line.uns["hypergene"]
    one = read(_outs(tmp_path / "one", made_bins(8, 1, 1)), spot_um=56)
    assert one.n_obs == 1
    assert one.obs["in_tissue"].tolist() == [0]  # one bin of 49
    assert np.isfinite(one.obsm["spatial"]).all()


def test_bins_never_become_python_objects(tmp_path, monkeypatch):
    positions = made_bins(2, 200, 200)
    counts = sparse.csr_matrix(np.ones((len(positions), 1), dtype=np.int32))
    square = _square(tmp_path, 2)
    names = positions["barcode"].tolist()
    write_h5(square / FILTERED, counts, names, symbols=["A"], ids=["ENSG00000000001"])
    (square / "spatial").mkdir()
    positions.to_parquet(square / "spatial" / "tissue_positions.parquet")
    read(tmp_path, spot_um=40)  # whatever is imported and cached once
    objects = []
    places = visium_hd._places

    def counted(matrix, barcodes, path):
        objects.append(sys.getallocatedblocks())
        place = places(matrix, barcodes, path)
        assert len(barcodes) == len(matrix.barcodes) == 40_000
        return place

    monkeypatch.setattr(visium_hd, "_places", counted)
    before = sys.getallocatedblocks()
    adata = read(tmp_path, spot_um=40)
    assert adata.X.sum() == 40_000
    assert adata.n_obs == 100
    assert objects[0] - before < 4_000


def test_too_many_spots_are_refused_before_they_are_named(tmp_path, monkeypatch):
    _outs(tmp_path, made_bins(8, 6, 5))
    monkeypatch.setattr(visium_hd, "_MOST_SPOTS", 29)
    with pytest.raises(DataError, match="would give 30 spots of 8 µm") as raised:
        read(tmp_path)
    assert "spot_um" in str(raised.value.hint)
    assert read(tmp_path, spot_um=16).n_obs == 9


# -- files --


def test_positions_can_be_given_and_be_csv(tmp_path):
    outs = _outs(tmp_path, made_bins(8, 6, 5))
    usual = read(outs)
    path = tmp_path / "moved.csv"
    made_bins(8, 6, 5).assign(**{X: lambda t: t[X] + 100}).to_csv(path, index=False)
    moved = read(outs, spots=path)
    np.testing.assert_allclose(moved.obsm["spatial"] - usual.obsm["spatial"], [[100, 0]] * 30)
    assert moved.uns["hypergene"]["positions_from"] == "moved.csv"


def test_a_matrix_market_folder_serves_where_there_is_no_hdf5(tmp_path):
    positions = made_bins(8, 6, 5)
    outs = _outs(tmp_path, positions)
    usual = read(outs)
    (_square(outs) / FILTERED).unlink()
    folder = _square(outs) / "filtered_feature_bc_matrix"
    write_mtx(folder, draw(MADE, positions), positions["barcode"].tolist())
    for data in (outs, folder):
        adata = read(data)
        np.testing.assert_array_equal(adata.X.toarray(), usual.X.toarray())
        assert adata.uns["hypergene"]["counts_from"] == (
            "square_008um/filtered_feature_bc_matrix/matrix.mtx.gz"
        )


def test_missing_scale_factors_leave_the_resolution_open_and_are_said(tmp_path):
    outs = _outs(tmp_path, made_bins(8, 6, 5))
    (_square(outs) / "spatial" / "scalefactors_json.json").unlink()
    about = read(outs).uns["hypergene"]
    assert "mpp" not in about
    assert "There is no scalefactors_json.json" in about["warnings"][0]


def test_scale_factors_of_other_bins_are_an_error(tmp_path):
    outs = _outs(tmp_path, made_bins(8, 6, 5))
    path = _square(outs) / "spatial" / "scalefactors_json.json"
    write_scale_factors(path, bin_size_um=16.0, microns_per_pixel=MPP)
    with pytest.raises(DataError, match="another bin_size_um than its folder square_008um"):
        read(outs)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("", "There is no"),
        ("binned_outputs", "holds no folders of bins"),
        ("binned_outputs/square_008um", "holds no folders of bins"),
        (f"binned_outputs/square_008um/{FILTERED}", "holds no filtered_feature_bc_matrix.h5"),
        ("binned_outputs/square_008um/spatial", "no tissue_positions for"),
        ("binned_outputs/square_008um/spatial/tissue_positions.parquet", "no tissue_positions for"),
    ],
)
def test_what_is_missing_is_named_with_the_fix(tmp_path, missing, said):
    outs = _outs(tmp_path / "outs", made_bins(8, 6, 5))
    path = outs / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataError, match=said) as raised:
        read(outs)
    assert str(outs) in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="in_tissue"), r"no column in_tissue"),
        (lambda t: t.assign(array_row=t.array_row - 1), r"array_row or array_col below 0"),
        (lambda t: t.assign(barcode="s_008um_00000_00000-1"), r"barcodes more than once"),
        (lambda t: t.assign(barcode=t.barcode.str.replace("8", "9")), r"None of the 30 bins of"),
        (lambda t: t.assign(array_col=t.array_col // 2), r"more than one bin at one array_row"),
        (lambda t: t.assign(**{X: t[X] * 1e9}), r"more than 1e\+07 px away"),
        (lambda t: t.assign(**{X: [9e5, *t[X][1:]]}), r"make no square lattice of array_row"),
        (lambda t: t.assign(**{X: t[X].sample(frac=1, random_state=0).to_numpy()}), r"no square"),
        (lambda t: t.assign(**{Y: np.nan}), r"that are no numbers"),
    ],
)
def test_damaged_positions_are_one_sentence_with_the_file(tmp_path, change, said):
    positions = made_bins(8, 6, 5)
    outs = _outs(tmp_path, positions)
    path = _square(outs) / "spatial" / "tissue_positions.parquet"
    change(positions).to_parquet(path)
    with pytest.raises(DataError, match=said) as raised:
        read(outs)
    assert str(path) in raised.value.message
    assert "\n" not in str(raised.value)
    assert raised.value.hint


def test_bins_in_any_order_meet_and_twins_in_the_matrix_do_not_pass(tmp_path):
    positions = made_bins(8, 6, 5)
    outs = _outs(tmp_path, positions)
    usual = read(outs)
    counts, names = draw(MADE, positions), positions["barcode"].to_numpy()
    order = np.random.default_rng(0).permutation(30)
    write_h5(_square(outs) / FILTERED, counts[order], names[order])
    positions.iloc[order[::-1]].to_parquet(
        _square(outs) / "spatial" / "tissue_positions.parquet", index=False
    )
    turned = read(outs)
    pd.testing.assert_frame_equal(turned.obs, usual.obs)
    np.testing.assert_array_equal(turned.X.toarray(), usual.X.toarray())
    np.testing.assert_allclose(turned.obsm["spatial"], usual.obsm["spatial"])
    write_h5(_square(outs) / FILTERED, counts, [*names[:-1], names[0]])
    with pytest.raises(DataError, match=rf"{FILTERED} has barcodes more than once"):
        read(outs)


def test_bins_without_counts_or_positions_are_counted(tmp_path):
    positions = made_bins(8, 6, 5)
    outs = _outs(tmp_path, positions)
    positions[3:].to_parquet(_square(outs) / "spatial" / "tissue_positions.parquet")
    counts = draw(MADE, positions).tolil()
    counts[10] = 0
    write_h5(_square(outs) / FILTERED, counts[:25], positions["barcode"][:25].tolist())
    adata = read(outs)
    assert adata.n_obs == 22
    assert adata.uns["hypergene"]["dropped"] == {
        "counts_without_position": 3,
        "positions_without_counts": 5,
        "bins_outside_tissue": 0,
    }
    assert adata["s_008um_00002_00000-1"].X.sum() == 0
    sample = WRITERS["visium-hd-8"](tmp_path / "sample", MADE)
    sample = replace(sample, data=outs)
    assert read_sample(sample).uns["hypergene"]["dropped"]["zero_counts"] == 1
