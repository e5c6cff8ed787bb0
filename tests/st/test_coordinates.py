from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from hypergene.errors import SpotsError
from hypergene.output import write_anndata
from hypergene.spots import Layout, layout_named
from hypergene.st import check_inside, read_coords

LAYOUT = Layout("given", "given", 55.0, 100.0, "circle")


@pytest.fixture
def read(tmp_path):
    def read(text: str | bytes, name: str = "coords.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_coords(path, layout=LAYOUT, mpp=(0.5, 0.25))

    return read


def test_a_csv_with_x_and_y_is_enough(read):
    spots = read("x,y\n10,20\n30.5,40\n")
    np.testing.assert_array_equal(spots.xy_px, [[10, 20], [30.5, 40]])
    np.testing.assert_array_equal(spots.xy_um, [[5, 5], [15.25, 10]])
    assert spots.layout == LAYOUT
    assert spots.array_row.tolist() == spots.array_col.tolist() == [-1, -1]
    assert len(set(spots.names.tolist())) == 2


def test_names_and_array_places_are_kept(read):
    spots = read("name\tarray_row\tarray_col\ty\tx\na\t3\t4\t20\t10\n", "coords.tsv")
    assert spots.names.tolist() == ["a"]
    assert (spots.array_row.item(), spots.array_col.item()) == (3, 4)
    np.testing.assert_array_equal(spots.xy_px, [[10, 20]])


def test_a_legacy_st_selection_table_gives_its_pixels_not_its_array_places(read, spots_text):
    spots = read(spots_text, "X1_selection.tsv")
    assert len(spots) == 13
    np.testing.assert_allclose(spots.xy_px[0], [290.5 * 10 - 300, 290.5 * 5 + 40])
    assert spots.names[0] == "10x5"
    assert (spots.array_row[0], spots.array_col[0]) == (5, 10)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", r"no column x, y \(found: a, b\)"),
        ("x,b\n1,2\n", r"no column y \(found: x, b\)"),
        ("x,y\n1,far\n", r"'far' in column y on line 2"),
        ("x,y\n1,2\n3,nan\n", r"'nan' in column y on line 3"),
        ("x,y\n1,\n", r"'' in column y on line 2"),
        ("x,y\n1,inf\n", r"'inf' in column y"),
        ("x,y\n", "no rows"),
        ("", "is empty"),
        ("x;y\n1;2\n", "separated by semicolons"),
        ("x,y\n1,2,3\n", "3 cells on line 2"),
        ("x,x\n1,2\n", "the column 'x' twice"),
        ("x,y,name\n1,2,a\n3,4,a\n", "'a' occurs 2 times"),
        (b"\x89PNG\r\n\x1a\n\xff", "not UTF-8"),
    ],
)
def test_a_bad_table_is_one_sentence_with_its_name(read, text, said):
    with pytest.raises(SpotsError, match=said) as raised:
        read(text)
    assert "coords.csv" in raised.value.message


def test_a_missing_file_and_a_folder_are_said_so(tmp_path):
    for path, said in ((tmp_path / "no.csv", "no file"), (tmp_path, "is a folder")):
        with pytest.raises(SpotsError, match=said):
            read_coords(path, layout=LAYOUT, mpp=(1, 1))


def spots_file(path, layout=None, **changes):
    adata = anndata.AnnData(
        obs=pd.DataFrame({"array_row": [0, 1], "array_col": [0, 1]}, index=["r0c0", "r1c1"]),
        obsm={"spatial": np.array([[10.5, 20.0], [30.0, 40.0]])},
        uns={"hypergene": {} if layout is None else {"layout": layout}},
    )
    for name, change in changes.items():
        setattr(adata, name, change)
    write_anndata(adata, path, format="zarr" if path.suffix == ".zarr" else "h5ad")
    return path


@pytest.mark.parametrize("name", ["s.spots.zarr", "s.h5ad"])
def test_our_own_spots_come_back_with_names_places_and_layout(tmp_path, name):
    stored = {"name": "st", "diameter_um": 100.0, "pitch_um": 200.0}
    path = spots_file(tmp_path / name, stored)
    spots = read_coords(path, layout=LAYOUT, mpp=(1, 1))
    assert spots.layout == layout_named("st")
    assert spots.names.tolist() == ["r0c0", "r1c1"]
    assert spots.array_row.tolist() == [0, 1]
    np.testing.assert_array_equal(spots.xy_px, [[10.5, 20.0], [30.0, 40.0]])


def test_an_anndata_without_our_layout_gets_the_one_given(tmp_path):
    assert read_coords(spots_file(tmp_path / "s.zarr"), layout=LAYOUT, mpp=(1, 1)).layout is LAYOUT


def test_a_layout_of_another_name_comes_back_as_given_positions(tmp_path):
    path = spots_file(
        tmp_path / "s.zarr",
        {"name": "hd", "diameter_um": 8.0, "pitch_um": 8.0, "shape": "square"},
    )
    layout = read_coords(path, layout=LAYOUT, mpp=(1, 1)).layout
    assert layout == Layout("hd", "given", 8.0, 8.0, "square")


@pytest.mark.parametrize("name", ["s.zarr", "s.h5ad"])
def test_what_is_no_anndata_with_positions_is_said_so(tmp_path, name):
    path = spots_file(tmp_path / name, obsm={})
    with pytest.raises(SpotsError, match=r'no obsm\["spatial"\]'):
        read_coords(path, layout=LAYOUT, mpp=(1, 1))
    path = spots_file(tmp_path / f"2{name}", obsm={"spatial": np.full((2, 2), np.nan)})
    with pytest.raises(SpotsError, match=f"2{name}: 2 of 2 spots have no finite centre"):
        read_coords(path, layout=LAYOUT, mpp=(1, 1))
    path = spots_file(tmp_path / f"3{name}", {"name": "st"})
    with pytest.raises(SpotsError, match="lacks its name, diameter_um or pitch_um"):
        read_coords(path, layout=LAYOUT, mpp=(1, 1))
    broken = tmp_path / f"4{name}"
    broken.write_bytes(b"text") if name.endswith("h5ad") else broken.mkdir()
    with pytest.raises(SpotsError, match="cannot be read as AnnData"):
        read_coords(broken, layout=LAYOUT, mpp=(1, 1))


def test_centres_outside_the_image_are_counted(read):
    spots = read("x,y\n10,20\n99.5,40\n100,10\n-1,10\n")
    with pytest.raises(SpotsError, match=r"2 of the 4 spots of f.csv .*-1 to 100 .* 100 × 50"):
        check_inside(spots, (100, 50), "f.csv")
    check_inside(spots.subset([0, 1]), (100, 50), "f.csv")


def test_swapped_axes_are_recognised(read):
    spots = read("x,y\n10,20\n40,90\n")
    check_inside(spots, (50, 100), "f.csv")
    with pytest.raises(SpotsError) as raised:
        check_inside(spots, (100, 50), "f.csv")
    assert "swapped all of them would fit" in str(raised.value.hint)
    with pytest.raises(SpotsError) as raised:
        check_inside(spots, (30, 30), "f.csv")
    assert "smaller copy" in str(raised.value.hint)
