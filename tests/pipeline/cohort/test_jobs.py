"""Which slides are to be predicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypergene.errors import DataError, UsageError
from hypergene.pipeline.cohort.jobs import list_jobs
from hypergene.pipeline.predict import PredictOptions

OPTIONS = PredictOptions(mpp=0.5)


def folder_of(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).touch()
    return path


def sheet_of(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_every_slide_of_a_folder_is_a_job(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "slides", "b.svs", "a.TIFF", "notes.txt", ".hidden.svs")
    (folder / "c.svs").mkdir()
    jobs = list_jobs([folder], None, tmp_path / "out", OPTIONS)
    assert [(job.name, job.target) for job in jobs] == [
        ("a", tmp_path / "out" / "a.zarr"),
        ("b", tmp_path / "out" / "b.zarr"),
    ]
    assert {job.options for job in jobs} == {OPTIONS}


def test_files_and_folders_may_be_mixed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "slides", "b.svs")
    jobs = list_jobs([Path("x/a.svs"), folder], None, tmp_path / "out", OPTIONS)
    assert [job.slide for job in jobs] == [Path("x/a.svs"), folder / "b.svs"]


def test_files_alone_may_go_beside_themselves() -> None:
    jobs = list_jobs([Path("x/a.svs"), Path("y/a.svs")], None, None, OPTIONS)
    assert [job.target for job in jobs] == [Path("x/a.zarr"), Path("y/a.zarr")]


def test_a_sheet_says_what_is_special_to_a_slide(tmp_path: Path) -> None:
    sheet = sheet_of(
        tmp_path / "sheet.csv",
        "sample,slide,mpp,coords,tissue",
        "A1,x/he.jpg,0.69,spots.csv,",
        ",he.svs,,,none",
        "C1,/elsewhere/he.svs,,,mask.png",
    )
    (tmp_path / "mask.png").touch()
    one, two, three = list_jobs([], sheet, tmp_path / "out", OPTIONS)
    assert one.name == "A1"
    assert one.slide == tmp_path / "x" / "he.jpg"
    assert (one.options.mpp, one.options.coords) == (0.69, tmp_path / "spots.csv")
    assert (two.name, two.options.mpp, two.options.tissue) == ("he", 0.5, "none")
    assert three.slide == Path("/elsewhere/he.svs")
    assert three.options.tissue == str(tmp_path / "mask.png")


def test_a_sheet_for_training_serves_as_well(tmp_path: Path) -> None:
    sheet = sheet_of(
        tmp_path / "sheet.csv",
        "sample,patient,slide,data,format,mpp",
        "A1,A,a.png,a.tsv,her2st,4",
        "A2,A,,b.tsv,her2st,",
    )
    (job,) = list_jobs([], sheet, tmp_path, OPTIONS)
    assert (job.name, job.options.mpp) == ("A1", 4.0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("A,b.svs,x", "line 3: the mpp is 'x'"),
        ("A,b.svs,-1", "line 3: the mpp is '-1'"),
        ("A,b.svs,nan", "line 3: the mpp is 'nan'"),
        ("a/b,b.svs,", "line 3: 'a/b' cannot name"),
        (".b,b.svs,", "line 3: '.b' cannot name"),
        ("S,b.svs,", "'S' twice, on line 3"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    sheet = sheet_of(tmp_path / "sheet.csv", "sample,slide,mpp", "S,a.svs,0.5", line)
    with pytest.raises(DataError, match=said):
        list_jobs([], sheet, tmp_path, OPTIONS)


def test_what_makes_no_cohort_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "empty", "notes.txt")
    sheet = sheet_of(tmp_path / "sheet.csv", "slide", "a.svs")
    with pytest.raises(UsageError, match="no slide to predict"):
        list_jobs([], None, tmp_path, OPTIONS)
    with pytest.raises(UsageError, match="Both"):
        list_jobs([Path("a.svs")], sheet, tmp_path, OPTIONS)
    with pytest.raises(UsageError, match="no folder for the results"):
        list_jobs([folder], None, None, OPTIONS)
    with pytest.raises(UsageError, match="no folder for the results"):
        list_jobs([], sheet, None, OPTIONS)
    with pytest.raises(DataError, match="no slide in"):
        list_jobs([folder], None, tmp_path, OPTIONS)
    with pytest.raises(UsageError, match="2 slides would be written"):
        list_jobs([Path("x/a.svs"), Path("y/a.tif")], None, tmp_path, OPTIONS)
    with pytest.raises(DataError, match="no column slide"):
        list_jobs([], sheet_of(tmp_path / "s.csv", "sample", "a"), tmp_path, OPTIONS)
