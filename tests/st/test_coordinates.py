from __future__ import annotations

import json

import anndata
import numpy as np
import pandas as pd
import pytest

from hypergene.errors import SpotsError
from hypergene.output import write_anndata
from hypergene.spots import Layout, Spots, lay_spots, layout_named
from hypergene.st import check_inside, check_pitch, read_coords

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


def test_a_turned_layout_comes_back_turned(tmp_path):
    stored = {"name": "grid", "diameter_um": 8.0, "pitch_um": 8.0, "orientation_deg": 12.0}
    spots = read_coords(spots_file(tmp_path / "s.zarr", stored), layout=LAYOUT, mpp=(1, 1))
    assert spots.layout == layout_named("grid", diameter_um=8, orientation_deg=12)


@pytest.mark.parametrize("name", ["s.zarr", "s.h5ad"])
def test_spots_that_an_anndata_puts_outside_the_tissue_are_left_out(tmp_path, name):
    flagged = pd.DataFrame({"in_tissue": [0, 1]}, index=["off", "on"])
    spots = read_coords(spots_file(tmp_path / name, obs=flagged), layout=LAYOUT, mpp=(1, 1))
    assert spots.names.tolist() == ["on"]
    ours = {"name": "st", "diameter_um": 100.0, "pitch_um": 200.0}
    path = spots_file(tmp_path / f"ours{name}", ours, obs=flagged)
    assert len(read_coords(path, layout=LAYOUT, mpp=(1, 1))) == 2


HEADER = "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres\n"
POSITIONS = "AAAC-1,1,0,0,10,20\nAAAG-1,0,0,2,10,120\nAAAT-1,1,1,1,96.6,70\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tissue_positions.csv", HEADER + POSITIONS),
        ("tissue_positions_list.csv", POSITIONS),
        ("renamed.csv", POSITIONS),
    ],
)
def test_space_rangers_positions_are_visium_with_rows_before_columns(read, name, text):
    spots = read(text, name)
    assert spots.names.tolist() == ["AAAC-1", "AAAT-1"]
    np.testing.assert_array_equal(spots.xy_px, [[20, 10], [70, 96.6]])
    assert spots.array_row.tolist() == spots.array_col.tolist() == [0, 1]
    assert spots.layout == layout_named("visium")


@pytest.mark.parametrize("place", ["", "spatial", "outs/spatial"])
def test_a_folder_of_space_ranger_is_enough(tmp_path, place):
    folder = tmp_path / "sample" / place
    folder.mkdir(parents=True)
    (folder / "tissue_positions.csv").write_text(HEADER + POSITIONS)
    assert len(read_coords(tmp_path / "sample", layout=LAYOUT, mpp=(1, 1))) == 2


def test_bins_state_their_size_in_their_names(tmp_path):
    frame = pd.DataFrame(
        {
            "barcode": [f"s_008um_00000_{column:05}-1" for column in range(3)],
            "in_tissue": [1, 1, 0],
            "array_row": [0, 0, 0],
            "array_col": [0, 1, 2],
            "pxl_row_in_fullres": [4.0, 4.0, 4.0],
            "pxl_col_in_fullres": [4.0, 20.0, 36.0],
        }
    )
    for side in ("008", "016"):
        folder = tmp_path / "outs/binned_outputs" / f"square_{side}um" / "spatial"
        folder.mkdir(parents=True)
        frame.to_parquet(folder / "tissue_positions.parquet")
    spots = read_coords(folder.parent, layout=LAYOUT, mpp=(0.5, 0.5))
    assert spots.layout == layout_named("visium-hd-8")
    assert spots.names.tolist() == ["s_008um_00000_00000-1", "s_008um_00000_00001-1"]
    with pytest.raises(SpotsError, match="square_008um, square_016um") as raised:
        read_coords(tmp_path / "outs", layout=LAYOUT, mpp=(0.5, 0.5))
    assert "square_016um" in str(raised.value.hint)


def test_a_parquet_table_is_read_as_a_csv_is(tmp_path):
    path = tmp_path / "any.parquet"
    frame = pd.DataFrame(
        {"spot": ["a", "b"], "x": [1.5, 2.0], "y": [3, 4], "in_tissue": [True, False]}
    )
    frame.to_parquet(path)
    spots = read_coords(path, layout=LAYOUT, mpp=(1, 1))
    assert spots.names.tolist() == ["a"]
    np.testing.assert_array_equal(spots.xy_px, [[1.5, 3]])
    frame.drop(columns="x").to_parquet(path)
    with pytest.raises(SpotsError, match=r"any.parquet has no column x \(found: spot, y"):
        read_coords(path, layout=LAYOUT, mpp=(1, 1))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(SpotsError, match=r"any.parquet cannot be read as Parquet"):
        read_coords(path, layout=LAYOUT, mpp=(1, 1))


@pytest.mark.parametrize(
    ("header", "flag"),
    [("imagecol,imagerow,in_tissue", "in_tissue"), ("X,Y,selected", "selected")],
)
def test_other_usual_names_of_columns_are_known(read, header, flag):
    spots = read(f"{header}\n10,20,1\n30,40,0\n")
    np.testing.assert_array_equal(spots.xy_px, [[10, 20]])
    with pytest.raises(SpotsError, match="all of its 2 spots outside the tissue") as raised:
        read(f"{header}\n10,20,0\n30,40,0\n")
    assert flag in str(raised.value.hint)


def test_geojson_gives_centroids_with_names_and_places(read):
    square = [[[0, 0], [4, 0], [4, 2], [0, 2], [0, 0]]]
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": square},
            "properties": {"name": "a", "measurements": {"array_row": 3, "array_col": 5}},
        },
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [7.5, 8]},
            "properties": {"name": "b"},
        },
    ]
    spots = read(json.dumps({"type": "FeatureCollection", "features": features}), "s.geojson")
    np.testing.assert_allclose(spots.xy_px, [[2, 1], [7.5, 8]])
    assert spots.names.tolist() == ["a", "b"]
    assert (spots.array_row.tolist(), spots.array_col.tolist()) == ([3, -1], [5, -1])


def given_spots(layout, mpp, stated, *, array=True, turn=0.0):
    """Spots of a layout at one resolution, read with another stated."""
    laid = lay_spots(layout_named(layout, orientation_deg=turn), (8000, 6000), (mpp, mpp))
    place = (laid.array_row, laid.array_col) if array else (np.full(len(laid), -1),) * 2
    return Spots(laid.xy_px, *place, laid.names, layout_named(layout), (stated, stated))


@pytest.mark.parametrize("array", [True, False])
@pytest.mark.parametrize("layout", ["visium", "st"])
def test_a_pitch_that_contradicts_the_resolution_is_said_in_one_sentence(layout, array):
    right = given_spots(layout, 0.5, 0.51, array=array, turn=7.0)
    assert check_pitch(right, "aperio.MPP", "f.csv") is None
    wrong = given_spots(layout, 0.5, 0.25, array=array, turn=7.0)
    said = check_pitch(wrong, "aperio.MPP", "f.csv")
    assert said is not None
    pitch = {"visium": "200.0 px apart, which at 100", "st": "400.0 px apart, which at 200"}
    assert said.startswith(f"f.csv: its spots are {pitch[layout]} µm is 0.500 µm/px")
    assert "(aperio.MPP) is 0.25" in said and said.count(".") >= 1 and "\n" not in said


def test_the_array_tells_the_platform_where_the_layout_is_another():
    spots = given_spots("st", 0.5, 0.25)
    assumed = Spots(
        spots.xy_px, spots.array_row, spots.array_col, spots.names, layout_named("visium"),
        spots.mpp,
    )  # fmt: skip
    said = check_pitch(assumed, "--mpp", "f.csv")
    assert said is not None and "at 200 µm is 0.500" in said


def test_cells_that_are_on_no_lattice_have_no_pitch():
    xy_px = np.random.default_rng(0).uniform(0, 3000, (2000, 2))
    nowhere = np.full(2000, -1)
    names = [f"cell{i}" for i in range(2000)]
    cells = Spots(xy_px, nowhere, nowhere, names, layout_named("visium"), (0.5, 0.5))
    assert check_pitch(cells, "--mpp", "f.csv") is None
