"""Which slides there are, of a sheet, a folder or files."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hypergene.errors import DataError, ResolutionError, UsageError
from hypergene.pipeline.slide_list import list_slides


def picture(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (40, 40), (200, 120, 180)).save(path)
    return path


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    for name in ("A1", "B1"):
        picture(tmp_path / f"{name}.png")
    (tmp_path / "counts.tsv").write_text("\tG1\n1x1\t3\n")
    rows = [f"{name},{name}.png,counts.tsv,her2st,{mpp}" for name, mpp in (("A1", 0.5), ("B1", ""))]
    (tmp_path / "sheet.csv").write_text(
        "\n".join(["sample,slide,data,format,mpp", *rows, "C1,,counts.tsv,her2st,"]) + "\n"
    )
    return tmp_path / "sheet.csv"


def test_a_sheet_gives_its_samples_that_have_a_slide(sheet: Path) -> None:
    assert [slide.name for slide in list_slides([sheet])] == ["A1", "B1"]
    assert [slide.name for slide in list_slides([sheet], without=["B1"])] == ["A1"]


def test_the_sheets_resolution_goes_before_the_one_given(sheet: Path) -> None:
    of_sheet, other = list_slides([sheet])
    with of_sheet.open(0.7) as slide:
        assert slide.mpp.x == 0.5
    with other.open(0.7) as slide:
        assert slide.mpp.x == 0.7


def test_a_slide_whose_resolution_nobody_knows_is_refused(tmp_path: Path) -> None:
    (slide,) = list_slides([picture(tmp_path / "A1.png")])
    with pytest.raises(ResolutionError):
        slide.open(None)


def test_a_folder_gives_the_slides_in_it_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG"):
        picture(tmp_path / "slides" / name)
    (tmp_path / "slides" / "notes.txt").write_text("none")
    assert [slide.name for slide in list_slides([tmp_path / "slides"])] == ["a", "b"]


def test_the_sections_of_her2st_are_found_by_their_folder(shared_data: Path) -> None:
    names = [slide.name for slide in list_slides([shared_data / "her2st"], without=["C3"])]
    assert names == ["B4", "C4", "C5", "C6"]


def test_a_slide_that_is_left_out_is_left_out_under_every_name(sheet: Path) -> None:
    text = sheet.read_text().replace("C1,,counts.tsv", "C1,A1.png,other.tsv")
    (sheet.parent / "other.tsv").write_text("\tG1\n1x1\t4\n")
    sheet.write_text(text)
    assert [slide.name for slide in list_slides([sheet], without=["C1"])] == ["B1"]


def test_files_named_twice_are_taken_once(tmp_path: Path) -> None:
    path = picture(tmp_path / "A1.png")
    assert len(list_slides([path, tmp_path, path])) == 1


def test_two_slides_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = [picture(tmp_path / folder / "A1.png") for folder in ("x", "y")]
    with pytest.raises(DataError, match="same name 'A1'"):
        list_slides(paths)


def test_a_name_that_is_not_there_cannot_be_left_out(sheet: Path) -> None:
    with pytest.raises(UsageError, match="'B7'") as raised:
        list_slides([sheet], without=["B7"])
    assert "A1, B1" in str(raised.value.hint)


def test_leaving_out_everything_is_refused(sheet: Path) -> None:
    with pytest.raises(UsageError, match="no slide to learn from"):
        list_slides([sheet], without=["A1", "B1"])


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.svs"):
        list_slides([tmp_path / "nowhere.svs"])
