from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np
import pytest
from layouts.legacy import WRITERS, Grid
from layouts.made import IDS, MPP, SYMBOLS, made_section

from hypergene.errors import DataError
from hypergene.st import Sample, read_sample
from hypergene.st.formats import tables
from hypergene.st.formats.tables_positions import find_positions, read_positions, spot_name
from hypergene.st.lattice import square_lattice_pitch_px

SECTION = made_section("A1")


def text(path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


@pytest.fixture
def written(tmp_path):
    """Write the made section in one of the layouts."""
    return lambda layout: WRITERS[layout](tmp_path, SECTION)


@pytest.fixture
def lab(tmp_path):
    """Write counts and positions as a lab has them, and make them a sample."""

    def write(counts: str, spots: str, *, names=("s_counts.csv", "s_spots.csv")) -> Sample:
        for name, content in zip(names, (counts, spots), strict=True):
            (tmp_path / name).write_text(content)
        return Sample("s", None, None, tmp_path / names[0], "tables", None, None)

    return write


COUNTS = "spot,A,B\np,1,2\nq,3,0\n"
SPOTS = "spot,x,y\nq,30,40\np,10,20\n"


@pytest.mark.parametrize("layout", [name for name in WRITERS if name.startswith("tables")])
def test_every_layout_gives_the_section_that_was_written(layout, written, assert_canonical):
    grid = Grid(SECTION)
    adata = read_sample(written(layout))
    assert_canonical(adata)
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), grid.counts())
    np.testing.assert_array_equal(adata.obsm["spatial"], grid.xy_px(grid.places))
    places = adata.obs[["array_col", "array_row"]].to_numpy()
    np.testing.assert_array_equal(places, grid.places)
    about = adata.uns["hypergene"]
    assert (about["platform"], about["layout"]["name"]) == ("st", "st")
    assert about["pitch_px"] == pytest.approx(50)
    assert about["mpp_from_pitch"] == pytest.approx(MPP)


@pytest.mark.parametrize(
    ("layout", "counts_from", "positions_from"),
    [
        ("tables-stnet", "BC23209_A1_stdata.tsv.gz (a row a spot)", "X and Y"),
        ("tables-st-pipeline", "(a row a spot)", "pixel_x and pixel_y"),
        ("tables-stimage", "_count.csv (a row a spot)", "_coord.csv (xaxis and yaxis)"),
        ("tables-transposed-csv", "(a row a gene)", "A1_spots.csv (pixel_x and pixel_y)"),
        ("tables-transposed-tsv", "(a row a gene)", "from_r.txt (imagecol and imagerow)"),
    ],
)
def test_what_was_found_is_said(layout, counts_from, positions_from, written, caplog):
    with caplog.at_level("INFO", logger="hypergene"):
        about = read_sample(written(layout)).uns["hypergene"]
    assert counts_from in about["counts_from"]
    assert positions_from in about["positions_from"]
    assert about["counts_from"] in caplog.text
    assert about["positions_from"] in caplog.text
    assert "its array is that of st (spots of 100 µm, 200 µm apart)" in caplog.text


def test_genes_are_known_by_symbol_identifier_or_both(written):
    assert list(read_sample(written("tables-stnet")).var["gene_ids"]) == list(IDS)
    both = read_sample(written("tables-transposed-tsv")).var
    assert list(both.index) == list(SYMBOLS)
    assert list(both["gene_ids"]) == list(IDS)


def test_spots_of_the_array_without_tissue_are_left_out_and_counted(written):
    dropped = read_sample(written("tables-stnet")).uns["hypergene"]["dropped"]
    assert dropped["counts_without_position"] == 12


def test_counters_of_htseq_are_no_genes(written):
    adata = read_sample(written("tables-st-pipeline"))
    assert list(adata.var_names) == list(SYMBOLS)
    assert adata.uns["hypergene"]["features_left_out"] == "1 counters of HTSeq"


def test_a_radius_gives_the_diameter_of_a_spot(written):
    assert read_sample(written("tables-stimage")).uns["hypergene"]["spot_diameter_px"] == 25


def test_a_pair_of_her2st_reads_as_plain_tables_too(written):
    sample = written("her2st")
    usual, plain = read_sample(sample), read_sample(replace(sample, format="tables"))
    np.testing.assert_array_equal(plain.X.toarray(), usual.X.toarray())
    np.testing.assert_array_equal(plain.obsm["spatial"], usual.obsm["spatial"])
    assert plain.obs.equals(usual.obs)


def test_names_meet_by_the_place_that_the_detector_found(lab):
    adata = read_sample(
        lab(
            "\tA\tB\n9.95x4.02\t1\t2\n11.03x4.0\t3\t4\n",
            "x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\n11\t4\t11.03\t4\t60\t7\n10\t4\t9.95\t4.02\t5\t6\n",
            names=("s_counts.tsv", "s_selection.tsv"),
        )
    )
    assert adata.obsm["spatial"].tolist() == [[5, 6], [60, 7]]
    assert adata.obs["array_col"].tolist() == [10, 11]


def test_any_names_will_do_and_no_layout_is_guessed_for_them(lab):
    adata = read_sample(lab(COUNTS, SPOTS))
    assert adata.layers["counts"].toarray().tolist() == [[1, 2], [3, 0]]
    assert adata.obsm["spatial"].tolist() == [[10, 20], [30, 40]]
    assert adata.obs["array_row"].tolist() == [-1, -1]
    assert not {"layout", "platform"} & set(adata.uns["hypergene"])


@pytest.mark.parametrize(("lower", "platform"), [(1, "visium"), (1.2, None)])
def test_a_platform_is_said_only_if_the_spots_lie_on_its_array(lab, lower, platform):
    places = [(row, column) for row in range(4) for column in range(row % 2, 8, 2)]
    rows = [f"b{i},{r},{c},{50 * c},{r * 50 * 3**0.5 * lower}" for i, (r, c) in enumerate(places)]
    adata = read_sample(
        lab(
            "\n".join(["barcode,A", *(f"b{i},1" for i in range(len(places)))]),
            "\n".join(["barcode,array_row,array_col,pxl_col_in_fullres,pxl_row_in_fullres", *rows]),
        )
    )
    assert adata.obs["array_col"].tolist() == [column for _, column in places]
    assert adata.uns["hypergene"].get("platform") == platform
    assert adata.uns["hypergene"].get("layout", {}).get("name") == platform
    assert adata.uns["hypergene"]["pitch_px"] == pytest.approx(100, rel=0.01)


def test_spots_that_are_not_selected_are_outside_the_tissue(lab):
    adata = read_sample(lab(COUNTS, "spot,x,y,selected\nq,30,40,0\np,10,20,1\n"))
    assert list(adata.obs_names) == ["p"]
    assert adata.uns["hypergene"]["dropped"]["outside_tissue"] == 1


@pytest.mark.parametrize(
    ("counts", "spots", "said"),
    [
        (COUNTS, "spot,x,y\nr,1,2\n", r"names no spot of .*s_counts.csv: .* 'r', .* 'p', .* 'A'"),
        (COUNTS, "spot,left,top\np,1,2\n", r"no columns pixel_x and pixel_y \(found: spot, left"),
        (COUNTS, "x,y\n1,2\n", "does not name its spots"),
        ("s,A\n1x2,3\n", "spot,x,y\n1x2,1,2\n", "places on the array as x and y, not pixels"),
        (COUNTS, "spot,x,y\np,1,2\np,3,4\n", "1 spot names more than once"),
        (COUNTS, "spot,x,y\np,one,2\n", "'one' in column x on line 2"),
        (COUNTS, "spot,x,y\np,nan,2\n", "'nan' in column x on line 2"),
        (COUNTS, "spot,x,y\np,1e9,2\n", r"more than 1e\+07 px away"),
        (COUNTS, "spot,x,y\np,1,2,3\nq,4,5,6\n", "4 cells on line 2, but 3 columns"),
        (COUNTS, "spot|x|y\np|1|2\n", "no columns pixel_x"),
        ("spot|A\np|1\n", SPOTS, "not separated by tabs or commas or semicolons"),
        ("spot,A,B\np,1,2,5\nq,3,0,5\n", SPOTS, "4 cells on line 2, but 3 columns"),
        ("spot,A,B\np,1,2\np,3,0\n", SPOTS, "1 spot names more than once"),
        ("spot,A,B\np,0.5,2\nq,3,0\n", SPOTS, r"not integers \(0.5\)"),
    ],
)
def test_bad_tables_are_one_sentence_with_the_file(lab, counts, spots, said):
    sample = lab(counts, spots)
    with pytest.raises(DataError, match=said) as raised:
        read_sample(sample)
    assert str(sample.data.parent) in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize(
    ("counts", "spots"),
    [
        ("A1.tsv.gz", "A1_selection.tsv"),
        ("BC23209_C1_stdata.tsv.gz", "spots_BT23209_C1.csv.gz"),
        ("BC23209_C1.tsv.gz", "BC23209_C1.spots.txt"),
        ("GSM4284316_P2_ST_rep1_stdata.tsv.gz", "GSM4284316_spot_data-selection-P2_ST_rep1.tsv.gz"),
        ("P2_ST_rep1_stdata.tsv", "spot_data-selection-P2_ST_rep1.tsv"),
        ("well7_stdata.tsv", "well7-spot_data-selection.tsv"),
        ("S1_stdata.tsv", "spot_data-all-S1.tsv"),
        ("counts.csv", "spots.csv"),
        ("M1_count_matrix-1.tsv", "M1_coordinates.tsv"),
        ("gene_exp/H_1_count.csv", "coord/H_1_coord.csv"),
        ("count-matrices/A1.tsv", "spot-selections/A1_selection.tsv"),
    ],
)
def test_positions_are_found_by_the_usual_names(tmp_path, counts, spots):
    for name in (counts, spots, "A2_selection.tsv", "spots_other.csv", "._A1_selection.tsv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert find_positions(tmp_path / counts) == tmp_path / spots


def test_the_annotation_of_stnet_is_no_rival_of_its_positions(tmp_path):
    for name in ("BC1_C1_stdata.tsv", "BC1_C1_Coords.tsv", "spots_BT1_C1.csv"):
        (tmp_path / name).write_text("x")
    assert find_positions(tmp_path / "BC1_C1_stdata.tsv").name == "spots_BT1_C1.csv"


def test_positions_that_are_missing_or_two_are_asked_for(tmp_path):
    counts = tmp_path / "A1_stdata.tsv"
    counts.write_text("x")
    with pytest.raises(DataError, match="no spot positions") as raised:
        find_positions(counts)
    assert "'spots'" in str(raised.value.hint)
    for name in ("A1_selection.tsv", "A1_selection.csv"):
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match=r"A1_selection.csv or A1_selection.tsv") as raised:
        find_positions(counts)
    assert str(counts) in raised.value.message


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("10x13", "10x13"),
        ("X10x13", "10x13"),
        ("10_13", "10x13"),
        ("10.0x13.00", "10x13"),
        ("16.918x16.996", "16.918x16.996"),
        ("AAACCTGAGC-1", "AAACCTGAGC-1"),
        ("S1_10x13", "S1_10x13"),
        ("-1x3", "-1x3"),
    ],
)
def test_places_on_the_array_have_one_notation(name, plain):
    assert spot_name(name) == plain


@pytest.mark.parametrize(
    ("name", "known"),
    [("a.tsv", True), ("a.CSV.gz", True), ("a.txt", True), ("a.h5ad", False), ("outs", False)],
)
def test_text_tables_are_recognised_by_name(tmp_path, name, known):
    assert tables.recognises(tmp_path / name) is known


def test_the_real_sections_read_the_same_as_tables(shared_data):
    folder = shared_data / "her2st" / "ST-cnts"
    for name in ("B4", "A1"):
        usual = read_sample(
            Sample(name, None, None, folder / f"{name}.tsv.gz", "her2st", None, None)
        )
        plain = read_sample(
            Sample(name, None, None, folder / f"{name}.tsv.gz", "tables", None, None)
        )
        assert (plain.layers["counts"] != usual.layers["counts"]).nnz == 0
        np.testing.assert_array_equal(plain.obsm["spatial"], usual.obsm["spatial"])
        for key in ("layout", "platform", "pitch_px"):
            assert plain.uns["hypergene"][key] == pytest.approx(usual.uns["hypergene"][key])


def test_all_real_arrays_are_known_by_their_positions(shared_data):
    paths = sorted((shared_data / "her2st" / "ST-spotfiles").glob("*_selection.tsv"))
    assert len(paths) == 35
    for path in paths:
        frame = read_positions(path).frame
        row, column = frame["array_row"].to_numpy(), frame["array_col"].to_numpy()
        xy_px = frame[["pixel_x", "pixel_y"]].to_numpy()
        assert square_lattice_pitch_px(row, column, xy_px) is not None, path.name
