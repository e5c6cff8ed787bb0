from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import xenium as layout

from hypergene.errors import DataError
from hypergene.st.formats import xenium, xenium_outs


def test_the_matrix_maps_the_image_to_the_run_as_10x_genomics_says(tmp_path):
    # Matrix and converted point of 10x's article on converting coordinates of an H&E image.
    path = tmp_path / "he_matrix.csv"
    path.write_text(
        "0.011071028838929093,1.2895790134339569,807.9788953065927\n"
        "-1.2895790134339569,0.011071028838929093,73097.655174759\n0,0,1\n"
    )
    matrix = xenium_outs.read_alignment(path, 0.2125)
    corner_um = np.array([[807.9788953065927, 73097.655174759]]) * 0.2125
    placed = xenium_outs.image_positions(corner_um, matrix, 0.2125)
    np.testing.assert_allclose(placed, [[0, 0]], atol=1e-6)
    assert xenium_outs.image_mpp(matrix, 0.2125) == pytest.approx([0.274046] * 2, abs=1e-6)


@given(
    turn=st.floats(0, 2 * np.pi),
    scale=st.floats(0.3, 50),
    mirror=st.sampled_from([1, -1]),
    shift=st.tuples(*[st.floats(-1e5, 1e5)] * 2),
    stretch=st.floats(1, 1.049),
    points=st.lists(st.tuples(*[st.floats(-1e5, 1e5)] * 2), min_size=1, max_size=5),
)
def test_positions_are_the_inverse_of_the_alignment(
    turn, scale, mirror, shift, stretch, points, tmp_path_factory
):
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = scale * turned @ np.diag([stretch, mirror])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, shift
    path = layout.write_alignment(tmp_path_factory.mktemp("a") / "m.csv", matrix)
    found = xenium_outs.read_alignment(path, 0.2125)
    image_px = np.array(points)
    run_um = 0.2125 * (image_px @ linear.T + shift)
    placed = xenium_outs.image_positions(run_um, found, 0.2125)
    np.testing.assert_allclose(placed, image_px, atol=1e-4)
    x, y = xenium_outs.image_mpp(found, 0.2125)
    assert x * y == pytest.approx(0.2125**2 * abs(np.linalg.det(linear)))
    assert x / y == pytest.approx(stretch)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("1,0,0\n0,1,0\n", r"no 3x3 matrix: its 2 lines hold 3, 3 numbers"),
        ("1,0\n0,1\n0,0\n", r"no 3x3 matrix: its 3 lines hold 2, 2, 2 numbers"),
        ("a,b,c\n1,0,0\n0,1,0\n0,0,1\n", r"holds 'a,b,c' on line 1, where three numbers"),
        ("1;0;0\n0;1;0\n0;0;1\n", r"holds '1;0;0' on line 1"),
        ("1,0,nan\n0,1,0\n0,0,1\n", "numbers that are missing"),
        ("1,0,inf\n0,1,0\n0,0,1\n", "numbers that are missing"),
        ("1,0,1e300\n0,1,0\n0,0,1\n", "numbers that are missing"),
        ("1,0,0\n0,1,0\n0,0.01,1\n", r"not affine: its last line is 0, 0.01, 1, not 0, 0, 1"),
        ("1,0,0\n0,1,0\n5,6,1\n", "not affine"),
        ("0,0,0\n0,0,0\n0,0,1\n", "is singular"),
        ("1,2,0\n2,4,0\n0,0,1\n", "is singular"),
        ("1.1,0,0\n0,1,0\n0,0,1\n", r"stretches the H&E image by 10 % more"),
        ("1,0.1,0\n0,1,0\n0,0,1\n", r"stretches the H&E image by 11 % more"),
        ("0.1,0,0\n0,0.1,0\n0,0,1\n", r"0.0213 µm/px, which no slide has"),
        ("1000,0,0\n0,1000,0\n0,0,1\n", r"212 µm/px, which no slide has"),
        ("1,0,5e8\n0,1,0\n0,0,1\n", r"puts squares of .* more than 1e\+07 px away"),
    ],
)
def test_an_alignment_that_is_none_is_one_sentence_with_the_file(text, said, tmp_path):
    outs = layout.write_run(tmp_path, alignment=text)
    with pytest.raises(DataError, match=said) as raised:
        xenium.read(outs)
    assert str(outs / "A_he_imagealignment.csv") in raised.value.message


def test_without_an_alignment_nothing_is_assumed_and_the_way_out_is_said(tmp_path):
    with pytest.raises(DataError, match="no alignment of the H&E image") as raised:
        xenium.read(layout.write_run(tmp_path / "outs", alignment=None))
    for way in ("Xenium Explorer", "'spots'", "3x3 identity"):
        assert way in str(raised.value.hint)


def test_of_two_alignments_none_is_guessed_but_one_of_immunofluorescence_is_no_choice(tmp_path):
    outs = layout.write_run(tmp_path / "outs")
    layout.write_alignment(outs / "A_if_imagealignment.csv", 3 * np.eye(3))
    assert xenium.read(outs).uns["hypergene"]["mpp"] == [0.2125, 0.2125]
    other = layout.write_alignment(outs / "B_he_imagealignment.csv", np.diag([2.0, 2.0, 1.0]))
    with pytest.raises(DataError, match=r"2 alignments .*A_he_image.*B_he_image"):
        xenium.read(outs)
    assert xenium.read(outs, other).uns["hypergene"]["mpp"] == [0.425, 0.425]


def test_an_alignment_beside_the_folder_is_taken_only_if_it_can_be_of_no_other_run(tmp_path):
    outs = layout.write_run(tmp_path / "a_outs", alignment=None)
    path = layout.write_alignment(tmp_path / "A_he_imagealignment.csv", np.diag([2.0, 2.0, 1.0]))
    about = xenium.read(outs).uns["hypergene"]
    assert about["mpp"] == [0.425, 0.425]
    assert Path(about["alignment"]) == path
    layout.write_run(tmp_path / "b_outs")
    with pytest.raises(DataError, match="no alignment of the H&E image"):
        xenium.read(outs)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a whole JSON file"),
        ('{"pixel_size": 0.2', "not a whole JSON file"),
        ("[" * 100_000, "not a whole JSON file"),
        ("[]", "states no pixel_size"),
        ("{}", "states no pixel_size"),
        ('{"pixel_size": "0.2125"}', "states no pixel_size"),
        ('{"pixel_size": true}', "states no pixel_size"),
        ('{"pixel_size": NaN}', "states no pixel_size"),
        ('{"pixel_size": -0.2125}', "states no pixel_size"),
        ('{"pixel_size": 212.5}', "states no pixel_size"),
    ],
)
def test_a_manifest_without_a_pixel_size_is_refused(text, said, tmp_path):
    outs = layout.write_run(tmp_path, experiment=text)
    with pytest.raises(DataError, match=said) as raised:
        xenium.read(outs)
    assert str(outs / "experiment.xenium") in raised.value.message


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"payload": {"targets": []}}', '{"payload": {"targets": [1]}}',
             '{"payload": {"targets": [{"type": {"descriptor": "gene", "data": {"name": 3}}}]}}',
             layout.panel_of(controls=("BLANK_1",))],
)  # fmt: skip
def test_a_damaged_panel_is_refused(text, tmp_path):
    outs = layout.write_run(tmp_path, panel=text)
    with pytest.raises(DataError, match=r"gene_panel.json (is not a whole JSON|lists no genes)"):
        xenium.read(outs)
