from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from layouts.made import MPP, SYMBOLS, made_section
from layouts.spaceranger import (
    HEADER,
    PITCH_PX,
    WRITERS,
    all_spots,
    made_spots,
    positions_csv,
    spots_under_tissue,
    write_h5,
    write_mtx,
    write_scale_factors,
)

from hypergene.errors import DataError
from hypergene.st import Sample, read_sample
from hypergene.st.formats import format_of
from hypergene.st.formats.spaceranger import (
    capture_area_mm,
    find_outs,
    hexagon_pitch_px,
    read,
    read_scale_factors,
    recognises,
)
from hypergene.st.formats.spaceranger_positions import read_positions
from hypergene.st.formats.tenx import as_text

MADE = made_section()
SPOTS = made_spots()
FILTERED = "filtered_feature_bc_matrix.h5"
RAW = "raw_feature_bc_matrix.h5"


def _outs(
    folder: Path,
    *,
    prefix: str = "",
    positions: str | None = None,
    name: str = "tissue_positions.csv",
) -> Path:
    """Write the usual folder, with positions of one's own if wanted."""
    barcodes, xy_px = spots_under_tissue(SPOTS)
    write_h5(folder / f"{prefix}{FILTERED}", MADE.draw(xy_px), barcodes)
    (folder / "spatial").mkdir()
    text = positions_csv(SPOTS, header=True) if positions is None else positions
    (folder / "spatial" / f"{prefix}{name}").write_text(text)
    write_scale_factors(folder / "spatial" / f"{prefix}scalefactors_json.json")
    return folder


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_gives_the_spots_and_counts_it_was_written_from(
    tmp_path, layout, assert_canonical
):
    sample = WRITERS[layout](tmp_path, MADE)
    assert format_of(sample.data) == sample.format == "spaceranger"
    adata = read_sample(sample)
    assert_canonical(adata)
    place = {"first_row": 100, "first_column": 200} if "v3" in layout else {}
    spots = made_spots(**place, degrees=3 if "v2-h5" in layout else 0)
    barcodes, xy_px = spots_under_tissue(spots)
    drawn = MADE.draw(xy_px).toarray()
    if layout in ("spaceranger-v1-h5", "spaceranger-geo-raw"):  # drawn with those off the tissue
        everyone, everywhere = all_spots(spots)
        drawn = MADE.draw(everywhere).toarray()[np.isin(everyone, barcodes)]
    assert list(adata.obs_names) == barcodes
    assert list(adata.var_names) == list(SYMBOLS)
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), drawn)
    atol = 0.51 if "v1" in layout else 1e-9  # Space Ranger 1 wrote whole pixels
    np.testing.assert_allclose(adata.obsm["spatial"], xy_px, atol=atol)
    about = adata.uns["hypergene"]
    assert about["layout"]["name"] == about["platform"] == "visium"
    assert about["pitch_px"] == pytest.approx(PITCH_PX, rel=0.002)
    assert about["mpp_from_pitch"] == pytest.approx(MPP, rel=0.002)
    assert about["capture_area_mm"] == (11.0 if "v3" in layout else 6.5)


def test_the_pixel_row_comes_first_in_the_file_and_is_y(tmp_path):
    adata = read(_outs(tmp_path))
    place = SPOTS.barcodes.index(adata.obs_names[0])
    line = positions_csv(SPOTS, header=False).splitlines()[place].split(",")
    assert line[0] == adata.obs_names[0]
    assert adata.obsm["spatial"][0].tolist() == [float(line[5]), float(line[4])]
    assert adata.obs["array_row"].iloc[0] == int(line[2])
    assert adata.obs["array_col"].iloc[0] == int(line[3])


@pytest.fixture(scope="module")
def squidpy():
    return pytest.importorskip("squidpy")


@pytest.mark.parametrize("layout", ["spaceranger-v1-h5", "spaceranger-v3-h5"])
def test_squidpy_reads_the_same(tmp_path, layout, squidpy):
    sample = WRITERS[layout](tmp_path, MADE)
    outs = find_outs(sample.data).counts.parent
    theirs, ours = squidpy.read.visium(outs), read(sample.data)
    assert list(theirs.obs_names) == list(ours.obs_names)
    assert list(theirs.var_names) == list(ours.var_names)
    np.testing.assert_array_equal(theirs.X.toarray(), ours.X.toarray())
    np.testing.assert_array_equal(theirs.obsm["spatial"], ours.obsm["spatial"])
    for column in ("in_tissue", "array_row", "array_col"):
        np.testing.assert_array_equal(theirs.obs[column], ours.obs[column])
    factors = theirs.uns["spatial"]["sample345"]["scalefactors"]
    about = ours.uns["hypergene"]
    assert factors["tissue_hires_scalef"] == about["hires_scale"]
    assert factors["tissue_lowres_scalef"] == about["lowres_scale"]
    assert factors["spot_diameter_fullres"] == about["spot_diameter_px"]


@pytest.mark.parametrize("name", ["tissue_positions.csv", "tissue_positions_list.csv"])
@pytest.mark.parametrize("header", [True, False])
def test_a_header_is_told_by_the_first_cell_and_not_by_the_name(tmp_path, name, header):
    positions = positions_csv(SPOTS, header=header)
    adata = read(_outs(tmp_path, name=name, positions=positions))
    assert adata.n_obs == 30
    np.testing.assert_allclose(adata.obsm["spatial"], spots_under_tissue(SPOTS)[1])
    assert adata.uns["hypergene"]["positions_from"] == name


def test_columns_under_a_header_may_stand_in_any_order_quoted_or_not(tmp_path):
    usual = read(_outs(tmp_path / "a"))
    rows = [line.split(",") for line in positions_csv(SPOTS, header=True).splitlines()]
    turned = "\r\n".join(",".join(f'"{row[i]}"' for i in (0, 5, 4, 3, 2, 1)) for row in rows)
    other = read(_outs(tmp_path / "b", positions=turned))
    pd.testing.assert_frame_equal(other.obs, usual.obs)
    np.testing.assert_array_equal(other.obsm["spatial"], usual.obsm["spatial"])


def test_positions_as_parquet_read_the_same(tmp_path):
    usual = read(_outs(tmp_path / "a"))
    outs = _outs(tmp_path / "b")
    table = pd.read_csv(outs / "spatial" / "tissue_positions.csv")
    (outs / "spatial" / "tissue_positions.csv").unlink()
    table.to_parquet(outs / "spatial" / "tissue_positions.parquet")
    other = read(outs)
    pd.testing.assert_frame_equal(other.obs, usual.obs)
    np.testing.assert_array_equal(other.obsm["spatial"], usual.obsm["spatial"])


def test_the_run_the_outs_and_the_matrix_itself_are_the_same_data(tmp_path):
    outs = _outs(tmp_path / "run" / "outs")
    mtx = outs / "filtered_feature_bc_matrix"
    barcodes, xy_px = spots_under_tissue(SPOTS)
    write_mtx(mtx, MADE.draw(xy_px), barcodes)
    usual = read(outs)
    assert usual.uns["hypergene"]["counts_from"] == FILTERED
    for data in (tmp_path / "run", outs / FILTERED, mtx, mtx / "matrix.mtx.gz"):
        assert recognises(data), data
        other = read(data)
        np.testing.assert_array_equal(other.X.toarray(), usual.X.toarray())
        assert list(other.obs_names) == list(usual.obs_names)
        np.testing.assert_array_equal(other.obsm["spatial"], usual.obsm["spatial"])
    assert other.uns["hypergene"]["counts_from"] == "filtered_feature_bc_matrix/matrix.mtx.gz"


def test_the_folders_of_cell_ranger_2_are_found(tmp_path):
    barcodes, xy_px = spots_under_tissue(SPOTS)
    outs = _outs(tmp_path)
    (outs / FILTERED).unlink()
    folder = outs / "filtered_gene_bc_matrices" / "GRCh38"
    write_mtx(folder, MADE.draw(xy_px), barcodes, version=2)
    for data in (outs, folder):
        adata = read(data)
        assert adata.n_obs == 30
        assert adata.uns["hypergene"]["positions_from"] == "tissue_positions.csv"


def test_filtered_counts_are_preferred_and_raw_ones_are_said_and_lose_what_is_off_the_tissue(
    tmp_path, caplog
):
    outs = _outs(tmp_path)
    barcodes, xy_px = all_spots(SPOTS)
    write_h5(outs / RAW, MADE.draw(xy_px), barcodes)
    assert "warnings" not in read(outs).uns["hypergene"]
    (outs / FILTERED).unlink()
    adata = read(outs)
    assert adata.uns["hypergene"]["counts_from"] == RAW
    (warning,) = adata.uns["hypergene"]["warnings"]
    assert str(outs / RAW) in warning
    assert "raw counts" in warning
    assert warning in caplog.text
    assert adata.obs["in_tissue"].sum() == 30
    assert len(adata) == 35
    sample = Sample("A1", "A", None, outs, "spaceranger", MPP, None)
    kept = read_sample(sample)
    assert kept.n_obs == 30
    assert kept.uns["hypergene"]["dropped"]["outside_tissue"] == 5


def test_several_candidates_are_named_and_none_is_guessed(tmp_path):
    outs = _outs(tmp_path, prefix="A_")
    shutil.copy(outs / f"A_{FILTERED}", outs / f"B_{FILTERED}")
    with pytest.raises(DataError, match=rf"several count matrices: A_{FILTERED}, B_{FILTERED}"):
        read(outs)
    assert read(outs / f"A_{FILTERED}").n_obs == 30


def test_positions_of_another_sample_are_never_taken(tmp_path):
    outs = _outs(tmp_path, prefix="A_")
    (outs / f"A_{FILTERED}").rename(outs / f"B_{FILTERED}")
    with pytest.raises(DataError, match=r"no B_tissue_positions for .*B_filtered"):
        read(outs)
    (outs / f"B_{FILTERED}").rename(outs / FILTERED)
    assert read(outs).uns["hypergene"]["positions_from"] == "A_tissue_positions.csv"
    positions = outs / "spatial" / "A_tissue_positions.csv"
    shutil.copy(positions, outs / "spatial" / "C_tissue_positions.csv")
    with pytest.raises(DataError, match=r"several sections: A_tissue.*, C_tissue"):
        read(outs)
    assert read(outs, spots=positions).n_obs == 30


def test_files_that_macos_leaves_beside_copies_are_not_looked_at(tmp_path):
    outs = _outs(tmp_path)
    (outs / f"._{FILTERED}").write_bytes(b"junk")
    (outs / "spatial" / "._tissue_positions.csv").write_bytes(b"junk")
    assert read(outs).n_obs == 30


def test_positions_can_be_given(tmp_path):
    outs = _outs(tmp_path)
    moved = tmp_path / "mine.txt"
    text = positions_csv(replace(SPOTS, xy_px=SPOTS.xy_px + 1000), header=False)
    moved.write_text(text)
    adata = read(outs, spots=moved)
    np.testing.assert_allclose(adata.obsm["spatial"], spots_under_tissue(SPOTS)[1] + 1000)
    assert adata.uns["hypergene"]["positions_from"] == "mine.txt"


def test_a_small_image_as_slide_is_not_the_readers_business(tmp_path):
    sample = WRITERS["spaceranger-v1-h5"](tmp_path, MADE)
    hires = sample.data / "spatial" / "tissue_hires_image.png"
    assert hires.is_file()
    assert read_sample(replace(sample, slide=hires)).n_obs == 30


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("run/outs/filtered_feature_bc_matrix.h5", True),
        ("GSM1_raw_feature_bc_matrix.h5", True),
        ("filtered_feature_bc_matrix/matrix.mtx.gz", True),
        ("filtered_gene_bc_matrices_h5.h5", True),
        ("cell_feature_matrix.h5", False),
        ("molecule_info.h5", False),
        ("section.h5ad", False),
        ("filtered_feature_bc_matrix.h5ad", False),
        ("B4.tsv.gz", False),
        ("binned_outputs/square_008um/filtered_feature_bc_matrix.h5", False),
        ("nothing/here", False),
    ],
)
def test_a_file_is_recognised_by_its_name(tmp_path, path, said):
    assert recognises(tmp_path / path) is said


def test_a_folder_is_recognised_by_the_names_in_it(tmp_path):
    assert not recognises(tmp_path)
    assert recognises(_outs(tmp_path / "run" / "outs"))
    assert recognises(tmp_path / "run")


# -- geometry --


@settings(deadline=None)
@given(
    degrees=st.floats(0, 360),
    pitch=st.floats(1, 1000),
    mirrored=st.booleans(),
    shift=st.floats(-1e4, 1e4),
    chosen=st.sets(st.integers(0, 34), min_size=3),
)
def test_the_pitch_is_the_distance_of_neighbours_whatever_the_rotation(
    degrees, pitch, mirrored, shift, chosen
):
    array_xy = np.column_stack([SPOTS.array_col, SPOTS.array_row])
    unit = array_xy * [0.5, -np.sqrt(0.75) if mirrored else np.sqrt(0.75)]
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    xy_px = pitch * unit @ rotation + shift
    kept = sorted(chosen)
    assume(np.linalg.matrix_rank(array_xy[kept] - array_xy[kept][0]) == 2)
    assert hexagon_pitch_px(array_xy[kept], xy_px[kept]) == pytest.approx(pitch, rel=1e-6)


def test_spots_on_one_point_have_no_pitch():
    assert hexagon_pitch_px(np.array([[4, 2]]), np.array([[10.0, 20.0]])) is None


@settings(deadline=None)
@given(row=st.integers(0, 200), column=st.integers(0, 300))
def test_the_capture_area_is_the_smallest_that_has_room(row, column):
    column += (row + column) % 2
    array_xy = np.array([[0, 0], [1, 1], [column, row]])
    if row <= 77 and column <= 127:
        assert capture_area_mm(array_xy) == 6.5
    elif row <= 127 and column <= 223:
        assert capture_area_mm(array_xy) == 11.0
    else:
        assert capture_area_mm(array_xy) is None


@pytest.mark.parametrize("change", ["consecutive", "negative", "large"])
def test_an_array_that_is_not_visiums_is_said_and_its_size_not_guessed(tmp_path, change, caplog):
    row, column = SPOTS.array_row, SPOTS.array_col
    spots = {
        "consecutive": replace(SPOTS, array_col=column // 2),
        "negative": replace(SPOTS, array_row=row - 20, array_col=column),
        "large": replace(SPOTS, array_row=row + 800),
    }[change]
    adata = read(_outs(tmp_path, positions=positions_csv(spots, header=True)))
    about = adata.uns["hypergene"]
    assert not {"layout", "platform", "capture_area_mm"} & set(about)
    assert about["pitch_px"] == pytest.approx(PITCH_PX, rel=0.01)
    assert "does not number its spots as Visium does" in about["warnings"][0]
    assert about["warnings"][0] in caplog.text


# -- scale factors --


def test_missing_scale_factors_are_said_and_done_without(tmp_path, caplog):
    outs = _outs(tmp_path)
    (outs / "spatial" / "scalefactors_json.json").unlink()
    about = read(outs).uns["hypergene"]
    assert "There is no scalefactors_json.json" in about["warnings"][0]
    assert about["warnings"][0] in caplog.text
    assert not {"spot_diameter_px", "hires_scale", "lowres_scale", "mpp"} & set(about)


def test_a_resolution_that_the_scale_factors_state_is_used_with_its_source(tmp_path):
    outs = _outs(tmp_path)
    write_scale_factors(outs / "spatial" / "scalefactors_json.json", microns_per_pixel=0.5)
    about = read(outs).uns["hypergene"]
    assert about["mpp"] == [0.5, 0.5]
    assert about["mpp_source"] == "scalefactors_json.json microns_per_pixel"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("{", "is not JSON"),
        ("[1, 2]", "no scale factors"),
        ("[" * 100_000, "is not JSON"),
        ('{"tissue_hires_scalef": 0}', "'0' as tissue_hires_scalef"),
        ('{"tissue_lowres_scalef": -0.1}', "'-0.1' as tissue_lowres_scalef"),
        ('{"spot_diameter_fullres": NaN}', "'nan' as spot_diameter_fullres"),
        ('{"spot_diameter_fullres": Infinity}', "'inf' as spot_diameter_fullres"),
        ('{"spot_diameter_fullres": "89"}', "'89' as spot_diameter_fullres"),
        ('{"microns_per_pixel": true}', "'True' as microns_per_pixel"),
        ('{"microns_per_pixel": {}}', "'{}' as microns_per_pixel"),
        ('{"microns_per_pixel": 1' + "0" * 400 + "}", "as microns_per_pixel"),
    ],
)
def test_damaged_scale_factors_are_one_sentence(tmp_path, content, said):
    path = tmp_path / "scalefactors_json.json"
    path.write_text(content)
    with pytest.raises(DataError, match=said) as raised:
        read_scale_factors(path)
    assert str(path) in raised.value.message
    assert "\n" not in str(raised.value)


def test_a_factor_that_is_missing_or_null_is_left_out(tmp_path):
    path = tmp_path / "scalefactors_json.json"
    path.write_text(json.dumps({"tissue_hires_scalef": 0.1, "spot_diameter_fullres": None}))
    assert read_scale_factors(path) == {"hires_scale": 0.1}


# -- what does not fit together --


def test_spots_without_counts_and_counts_without_spots_are_counted(tmp_path):
    lines = positions_csv(SPOTS, header=True).splitlines()
    inside = next(i for i, line in enumerate(lines) if "-1,1," in line)
    del lines[inside]
    dropped = read(_outs(tmp_path, positions="\n".join(lines))).uns["hypergene"]["dropped"]
    assert dropped == {"counts_without_position": 1, "positions_without_counts": 5}


def test_barcodes_in_any_order_meet(tmp_path):
    usual = read(_outs(tmp_path / "a"))
    outs = _outs(tmp_path / "b")
    barcodes, xy_px = spots_under_tissue(SPOTS)
    order = np.random.default_rng(1).permutation(30)
    write_h5(outs / FILTERED, MADE.draw(xy_px)[order], [barcodes[i] for i in order])
    turned = read(outs)
    assert list(turned.obs_names) != list(usual.obs_names)
    turned = turned[usual.obs_names]
    np.testing.assert_array_equal(turned.X.toarray(), usual.X.toarray())
    np.testing.assert_array_equal(turned.obsm["spatial"], usual.obsm["spatial"])


def test_barcodes_that_match_nothing_say_what_they_look_like(tmp_path):
    positions = positions_csv(SPOTS, header=True).replace("-1,", ",")
    with pytest.raises(DataError, match=r"None of the 30 spots .*-1'\) is among the 35") as raised:
        read(_outs(tmp_path, positions=positions))
    assert "-1" in str(raised.value.hint)


@pytest.mark.parametrize("twice", ["counts", "positions"])
def test_a_barcode_twice_is_an_error(tmp_path, twice):
    outs = _outs(tmp_path)
    barcodes, xy_px = spots_under_tissue(SPOTS)
    if twice == "counts":
        write_h5(outs / FILTERED, MADE.draw(xy_px), [*barcodes[:-1], barcodes[0]])
    else:
        path = outs / "spatial" / "tissue_positions.csv"
        path.write_text(path.read_text() + path.read_text().splitlines()[-1])
    with pytest.raises(DataError, match=r"1 spot names more than once"):
        read(outs)


def test_spots_without_counts_are_left_out_and_a_section_without_any_is_an_error(tmp_path):
    sample = WRITERS["spaceranger-v1-h5"](tmp_path, MADE)
    barcodes, xy_px = spots_under_tissue(SPOTS)
    counts = MADE.draw(xy_px).tolil()
    counts[3] = 0
    write_h5(sample.data / FILTERED, counts, barcodes)
    adata = read_sample(sample)
    assert adata.n_obs == 29
    assert adata.uns["hypergene"]["dropped"]["zero_counts"] == 1
    write_h5(sample.data / FILTERED, counts * 0, barcodes)
    with pytest.raises(DataError, match=r"no spot left: of 30, 0 are outside .* 30 have no counts"):
        read_sample(sample)


def test_one_spot_and_one_gene_are_enough_to_read(tmp_path, assert_canonical):
    sample = WRITERS["spaceranger-v1-h5"](tmp_path, MADE)
    barcodes, xy_px = spots_under_tissue(SPOTS)
    write_h5(
        sample.data / FILTERED,
        MADE.draw(xy_px)[:1, :1],
        barcodes[:1],
        symbols=SYMBOLS[:1],
        ids=["ENSG00000141736"],
    )
    adata = read_sample(sample)
    assert_canonical(adata)
    assert adata.shape == (1, 1)
    # The pitch is that of all positions, so one spot has one as well.
    assert adata.uns["hypergene"]["pitch_px"] == pytest.approx(PITCH_PX, rel=0.002)


# -- bad input --


@pytest.mark.parametrize("missing", [FILTERED, "spatial", "spatial/tissue_positions.csv", ""])
def test_what_is_missing_is_named_with_the_fix(tmp_path, missing):
    outs = _outs(tmp_path / "outs")
    path = outs / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    said = {FILTERED: "holds no filtered_feature_bc_matrix.h5", "": "There is no"}
    with pytest.raises(DataError, match=said.get(missing, "no tissue_positions for")) as raised:
        read(outs)
    assert str(outs) in raised.value.message
    assert raised.value.hint


def test_visium_hd_under_the_wrong_format_is_told_so(tmp_path):
    (tmp_path / "outs" / "binned_outputs").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no filtered") as raised:
        read(tmp_path)
    assert "visium-hd" in str(raised.value.hint)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: "", r"is empty"),
        (lambda t: "\n\n", r"is empty"),
        (lambda t: t.replace(",", "\t"), r"1 cells on line \d, where 6 .*separated by tabs"),
        (lambda t: t.replace(",", ";"), r"1 cells on line \d, where 6 .*separated by semicolons"),
        (lambda t: t.rsplit(",", 1)[0], r"5 cells on line 3\d, where 6"),
        (lambda t: t[:-30] + ",\n", r"\d cells on line|in column"),
        (lambda t: t.replace("-1,1,", "-1,2,", 1), r"other than 0 and 1 in column in_tissue"),
        (lambda t: t.replace("-1,1,", "-1,x,", 1), r"'x' in column in_tissue on line \d"),
        (lambda t: t.replace("-1,1,", "-1,,", 1), r"'' in column in_tissue on line \d"),
        (lambda t: t.replace("-1,1,1", "-1,1,1.5", 1), r"in column array_row on line \d"),
        (lambda t: t.replace(",55.0,", ",nan,", 1), r"'nan' in column pxl_row_in_fullres"),
        (lambda t: t.replace(",55.0,", ",1e300,", 1), r"more than 1e\+07 px away"),
        (lambda t: t + "\x00", r"NUL"),
        (lambda t: t.replace("-1,1,", "-1,1,1,", 1), r"7 cells on line \d+, where 6"),
        (lambda t: '"' + t, r"cells on line|no table|NUL|no column"),
    ],
)
def test_damaged_positions_are_one_sentence_with_the_file(tmp_path, header, change, said):
    text = positions_csv(SPOTS, header=header)
    assert change(text) != text
    outs = _outs(tmp_path, positions=change(text))
    with pytest.raises(DataError, match=said) as raised:
        read(outs)
    assert str(outs / "spatial" / "tissue_positions.csv") in raised.value.message
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace("array_row", "row"), r"no column array_row \(found: barcode, in_t"),
        (lambda t: t.splitlines()[0], r"a header but no spots"),
        (lambda t: t.replace("barcode", "spot", 1), r"'in_tissue' in column in_tissue on line 1"),
    ],
)
def test_a_wrong_header_is_named(tmp_path, change, said):
    outs = _outs(tmp_path, positions=change(positions_csv(SPOTS, header=True)))
    with pytest.raises(DataError, match=said):
        read(outs)


def test_positions_that_are_binary_or_a_folder_are_one_sentence(tmp_path):
    path = tmp_path / "tissue_positions.csv"
    for content, said in ((b"PAR1", "as Parquet"), (b"\xff\xfe\x00", "not UTF-8")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            read_positions(path)
    path.unlink()
    with pytest.raises(DataError, match=r"tissue_positions.csv cannot be read: No such file"):
        read_positions(path)
    path.mkdir()
    with pytest.raises(DataError, match=r"tissue_positions.csv cannot be read: Is a directory"):
        read_positions(path)


@pytest.fixture
def parquet(tmp_path) -> tuple[Path, pd.DataFrame]:
    barcodes, table = read_positions(_positions_file(tmp_path))
    table.columns = ["in_tissue", "array_row", "array_col", "pxl_row_in_fullres", HEADER[5]]
    table.insert(0, "barcode", as_text(barcodes))
    return tmp_path / "tissue_positions.parquet", table


def _positions_file(folder: Path) -> Path:
    path = folder / "tissue_positions.csv"
    path.write_text(positions_csv(SPOTS, header=True))
    return path


def test_parquet_holds_what_csv_holds(parquet):
    path, table = parquet
    table.to_parquet(path)
    barcodes, positions = read_positions(path)
    assert as_text(barcodes) == SPOTS.barcodes
    np.testing.assert_array_equal(positions["pixel_y"], SPOTS.xy_px[:, 1])
    np.testing.assert_array_equal(positions["pixel_x"], SPOTS.xy_px[:, 0])
    assert positions.dtypes.astype(str).to_dict() == {
        "in_tissue": "int8",
        "array_row": "int32",
        "array_col": "int32",
        "pixel_y": "float64",
        "pixel_x": "float64",
    }


def test_barcodes_of_parquet_may_differ_in_length_and_be_a_dictionary(parquet):
    path, table = parquet
    names = [*SPOTS.barcodes[:-1], "µ"]
    table.assign(barcode=pd.Categorical(names)).to_parquet(path, row_group_size=10)
    assert as_text(read_positions(path)[0]) == names


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="array_row"), r"no column array_row \(found: barcode, in_t"),
        (lambda t: t[:0], r"has 0 positions"),
        (lambda t: t.assign(barcode=None), r"empty cells in column barcode|as Parquet"),
        (lambda t: t.assign(barcode=""), r"empty cells in column barcode"),
        (lambda t: t.replace({"barcode": {t.barcode[0]: None}}), r"empty cells in column barcode"),
        (lambda t: t.assign(in_tissue=2), r"other than 0 and 1"),
        (lambda t: t.assign(in_tissue=[None, *t.in_tissue[1:]]), r"in_tissue that are no integ"),
        (lambda t: t.assign(array_row=t.array_row + 0.5), r"array_row that are no integers"),
        (lambda t: t.assign(array_row=t.array_row * 1e9), r"array_row that are no integers"),
        (lambda t: t.assign(array_row=t.array_row.astype(str)), r"array_row that are no integers"),
        (lambda t: t.assign(pxl_row_in_fullres=np.nan), r"pxl_row_in_fullres that are no numbers"),
        (lambda t: t.assign(pxl_row_in_fullres=np.inf), r"pxl_row_in_fullres that are no numbers"),
        (lambda t: t.assign(pxl_row_in_fullres="x"), r"pxl_row_in_fullres that are no numbers"),
    ],
)
def test_damaged_parquet_is_one_sentence_with_the_file(parquet, change, said):
    path, table = parquet
    change(table).to_parquet(path)
    with pytest.raises(DataError, match=said) as raised:
        read_positions(path)
    assert str(path) in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
def test_truncated_parquet_is_one_sentence(parquet, share):
    path, table = parquet
    table.to_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[: 4 + int(share * len(content))])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_positions(path)
