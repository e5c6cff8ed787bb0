from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from layouts.legacy import WRITERS, Grid
from layouts.made import made_section

from hypergene.errors import DataError
from hypergene.st import read_sample
from hypergene.st.formats import her2st


def test_a_pair_becomes_the_canonical_anndata(pair, assert_canonical):
    adata = read_sample(pair.sample)
    assert_canonical(adata)
    assert adata.shape == (12, 5)
    assert adata.obs_names[0] == "10x5"
    assert set(adata.obs["sample"]) == {"X1"}
    assert set(adata.obs["patient"]) == {"X"}
    assert adata.uns["hypergene"]["layout"]["name"] == "st"
    assert adata.uns["hypergene"]["layout"]["pitch_um"] == 200


def test_pixel_x_is_the_column_and_array_row_is_y(pair):
    adata = read_sample(pair.sample)
    spot = adata["12x6"]
    np.testing.assert_allclose(spot.obsm["spatial"], [[290.5 * 12 - 300, 290.5 * 6 + 40]])
    assert spot.obs["array_row"].item() == 6
    assert spot.obs["array_col"].item() == 12


def test_counts_stay_with_their_spot_whatever_the_order_of_the_positions(
    tmp_path, write_pair, spots_text
):
    header, *rows = spots_text.splitlines()
    straight = read_sample(write_pair(tmp_path / "a").sample)
    turned = read_sample(write_pair(tmp_path / "b", spots="\n".join([header, *rows[::-1]])).sample)
    assert list(turned.obs_names) == list(straight.obs_names)
    np.testing.assert_array_equal(turned.obsm["spatial"], straight.obsm["spatial"])
    np.testing.assert_array_equal(
        turned.layers["counts"].toarray(), straight.layers["counts"].toarray()
    )
    assert straight.layers["counts"][0].toarray().tolist() == [[1, 2, 3, 4, 5]]


def test_the_pitch_is_measured_and_gives_the_resolution_a_second_time(pair):
    about = read_sample(pair.sample).uns["hypergene"]
    assert about["pitch_px"] == pytest.approx(290.5)
    assert about["mpp_from_pitch"] == pytest.approx(200 / 290.5)


def test_what_is_left_out_is_counted_by_reason(tmp_path, write_pair, counts_text, spots_text):
    lines = counts_text.splitlines()
    lines[1] = "10x5" + "\t0" * 5
    lines.append("99x99" + "\t1" * 5)
    spots = spots_text.splitlines()
    spots[2] = spots[2][:-1] + "0"
    adata = read_sample(
        write_pair(tmp_path, counts="\n".join(lines), spots="\n".join(spots)).sample
    )
    assert adata.uns["hypergene"]["dropped"] == {
        "counts_without_position": 1,
        "positions_without_counts": 1,
        "outside_tissue": 1,
        "zero_counts": 1,
    }
    assert adata.n_obs == 10
    assert not {"10x5", "10x6", "99x99"} & set(adata.obs_names)


def test_a_plain_table_with_windows_line_ends_reads_the_same(tmp_path, write_pair, counts_text):
    usual = read_sample(write_pair(tmp_path / "a").sample)
    text = counts_text.replace("\n", "\r\n")
    plain = read_sample(write_pair(tmp_path / "b", counts=text, plain=True).sample)
    np.testing.assert_array_equal(plain.X.toarray(), usual.X.toarray())
    assert list(plain.var_names) == list(usual.var_names)


def test_a_gene_named_twice_is_kept_twice(tmp_path, write_pair, counts_text):
    text = counts_text.replace("KRT8", "ERBB2")
    adata = read_sample(write_pair(tmp_path, counts=text).sample)
    assert list(adata.var_names) == ["ERBB2", "FO538757.1", "ERBB2-1", "IGKC", "COL1A1"]
    assert adata[0, "ERBB2-1"].layers["counts"].toarray().item() == 3


def test_positions_are_found_beside_the_counts_too(tmp_path, write_pair):
    pair = write_pair(tmp_path)
    pair.spots.rename(pair.counts.parent / pair.spots.name)
    assert read_sample(pair.sample).n_obs == 12


def test_spots_that_match_nothing_are_an_error_with_the_numbers(tmp_path, write_pair, spots_text):
    header, *rows = spots_text.splitlines()
    far = "\n".join([header, *("9" + row for row in rows)])
    with pytest.raises(DataError, match=r"None of the 12 spots .*X1.tsv.gz.* 13 positions"):
        read_sample(write_pair(tmp_path, spots=far).sample)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\t31\t", "\t31.5\t", r"not integers \(31.5\): they look like neither"),
        ("\t31\t", "\t-31\t", r"negative values \(-31.*partly negative"),
        ("\t31\t", "\tNaN\t", r"NaN cells \(the first on line 8, gene ERBB2\)"),
        ("\t31\t", "\t\t", r"NaN cells \(the first on line 8, gene ERBB2\)"),
        ("\t31\t", "\tmany\t", r"'many' on line 8, gene ERBB2"),
        ("\t31\t", "\tinf\t", r"infinite"),
        ("\t31\t", "\t3000000000\t", r"too large"),
        ("\t31\t", "\t31\t31\t", r"7 cells on line 8, but 6 columns"),
        ("\t31\t", "\t", r"5 cells on line 8, but 6 columns"),
        ("\t", ",", r"not separated by tabs but by commas"),
        ("10x6", "10x5", r"1 spot names more than once \(such as '10x5'\)"),
        ("KRT8", "", r"no gene name in column 4"),
    ],
)
def test_a_damaged_count_table_is_one_sentence_with_the_file(
    tmp_path, write_pair, counts_text, old, new, said
):
    assert old in counts_text
    pair = write_pair(tmp_path, counts=counts_text.replace(old, new))
    with pytest.raises(DataError, match=said) as raised:
        read_sample(pair.sample)
    assert str(pair.counts) in raised.value.message
    assert raised.value.hint or "too large" in said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pixel_x", "px", r"no column pixel_x \(found: x, y, new_x, new_y, px"),
        ("10\t5\t", "10.5\t5\t", r"'10.5' in column x on line 2, where an integer"),
        ("1492.5", "here", r"'here' in column pixel_y on line 2, where a number"),
        ("1492.5", "nan", r"'nan' in column pixel_y on line 2"),
        ("1492.5", "1e300", r"more than 1e\+07 px away"),
        ("10\t6\t", "10\t5\t", r"1 spot names more than once"),
        ("1492.5\t1", "1492.5", r"6 cells on line 2, but 7 columns"),
        ("\t", ",", r"separated by commas"),
    ],
)
def test_a_damaged_position_table_is_one_sentence_with_the_file(
    tmp_path, write_pair, spots_text, old, new, said
):
    assert old in spots_text
    pair = write_pair(tmp_path, spots=spots_text.replace(old, new, -1 if old == "\t" else 1))
    with pytest.raises(DataError, match=said) as raised:
        read_sample(pair.sample)
    assert str(pair.spots) in raised.value.message


def test_a_truncated_gzip_is_named_as_such(pair):
    whole = pair.counts.read_bytes()
    pair.counts.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="truncated gzip"):
        read_sample(pair.sample)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (gzip.compress(b""), "is empty"),
        (b"\n\n", "is empty"),
        (b"\tA\tB\n", "no spots"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"a\x00b", "NUL"),
    ],
)
def test_a_file_that_is_no_table_is_said_so(pair, content, said):
    pair.counts.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_sample(pair.sample)


def test_missing_positions_name_both_places_and_the_way_out(pair):
    pair.spots.unlink()
    with pytest.raises(DataError, match=r"ST-spotfiles.*ST-cnts") as raised:
        read_sample(pair.sample)
    assert "'spots'" in str(raised.value.hint)


def test_a_folder_for_a_table_is_said_so(tmp_path: Path, pair):
    pair.spots.unlink()
    pair.spots.mkdir()
    with pytest.raises(DataError, match="no spot positions"):
        read_sample(pair.sample)
    pair.counts.unlink()
    pair.counts.mkdir()
    with pytest.raises(DataError, match="is a folder"):
        read_sample(pair.sample)


def test_a_table_without_any_count_is_an_error(tmp_path, write_pair, counts_text):
    header, *rows = counts_text.splitlines()
    empty = "\n".join([header, *(row.split("\t")[0] + "\t0" * 5 for row in rows)])
    with pytest.raises(DataError, match=r"no spot left: of 12, 0 are outside .* 12 have no counts"):
        read_sample(write_pair(tmp_path, counts=empty).sample)


def test_counts_are_recognised_by_their_folder_or_by_the_positions_beside_them(tmp_path, pair):
    assert her2st.recognises(pair.counts)
    assert not her2st.recognises(pair.slide)
    elsewhere = tmp_path / "elsewhere" / "X9.tsv"
    elsewhere.parent.mkdir()
    assert not her2st.recognises(elsewhere)
    (tmp_path / "elsewhere" / "X9_selection.tsv").write_text("x")
    assert her2st.recognises(elsewhere)


def test_normalised_values_are_named_as_what_they_are(tmp_path, write_pair, counts_text):
    header, *rows = counts_text.splitlines()
    lines = [header]
    for row in rows:
        name, *cells = row.split("\t")
        counts = np.array(cells, float)
        values = np.log1p(counts / counts.sum() * 1e4)
        lines.append("\t".join([name, *(f"{value:.6f}" for value in values)]))
    pair = write_pair(tmp_path, counts="\n".join(lines))
    with pytest.raises(DataError, match=r"ln\(1 \+ counts scaled to a total of 10,000") as raised:
        read_sample(pair.sample)
    assert "raw counts" in str(raised.value.hint)


@pytest.mark.parametrize("layout", ["her2st", "her2st-plain"])
def test_both_ways_of_keeping_it_give_the_section_that_was_written(layout, tmp_path):
    section = made_section("B4")
    grid = Grid(section)
    adata = read_sample(WRITERS[layout](tmp_path, section))
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), grid.counts())
    np.testing.assert_array_equal(adata.obsm["spatial"], grid.xy_px(grid.places))
    assert adata.uns["hypergene"]["platform"] == "st"
    assert adata.uns["hypergene"]["counts_from"].startswith("B4.tsv")
