from __future__ import annotations

import logging
import re
import shutil

import pytest

from hypergene.errors import DataError
from hypergene.st import read_sample, read_samples, single_sample
from hypergene.st.formats import FORMATS


@pytest.fixture
def sheet(tmp_path, write_pair):
    """Write a sheet beside a folder `data` that holds the sections X1 and Y1."""
    for section in ("X1", "Y1"):
        write_pair(tmp_path / "data", section)

    def write(*rows: str, header: str = "sample,patient,slide,data,format,mpp"):
        path = tmp_path / "samples.csv"
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return path

    return write


def row(section: str, rest: str = "her2st,0.69") -> str:
    slide = f"data/ST-imgs/{section[0]}/{section}/he.jpg"
    return f"{section},{section[0]},{slide},data/ST-cnts/{section}.tsv.gz,{rest}"


def test_a_sheet_is_read_relative_to_itself(sheet, monkeypatch, tmp_path):
    path = sheet(row("X1"), row("Y1", ","))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    first, second = read_samples(path)
    assert (first.sample, first.patient, first.format, first.mpp) == ("X1", "X", "her2st", 0.69)
    assert first.slide.is_file()
    assert second.mpp is None
    assert read_sample(first).n_obs == 12


def test_optional_columns_may_be_missing_and_the_format_found_is_said(sheet, caplog):
    slide, data = row("X1").split(",")[2:4]
    path = sheet(f"X1,{slide},{data}", header="sample,slide,data")
    with caplog.at_level(logging.INFO, logger="hypergene"):
        (sample,) = read_samples(path)
    assert (sample.patient, sample.mpp, sample.section) == (None, None, None)
    assert sample.format == "her2st"
    assert "X1: data format her2st" in caplog.text
    assert read_sample(sample).obs["patient"].isna().all()


def test_a_column_that_is_not_used_is_said(sheet, caplog):
    slide, data = row("X1").split(",")[2:4]
    path = sheet(f"X1,{slide},{data},P7", header="sample,slide,data,pateint")
    with caplog.at_level(logging.WARNING, logger="hypergene"):
        read_samples(path)
    assert "pateint" in caplog.text


def test_positions_in_an_unusual_place_are_named_by_the_sheet(sheet, tmp_path):
    usual = tmp_path / "data" / "ST-spotfiles" / "X1_selection.tsv"
    usual.rename(tmp_path / "spots.tsv")
    slide, data = row("X1").split(",")[2:4]
    header = "sample,slide,data,spots,section"
    (sample,) = read_samples(sheet(f"s,{slide},{data},spots.tsv,X1", header=header))
    adata = read_sample(sample)
    assert adata.n_obs == 12
    assert set(adata.obs["section"]) == {"X1"}
    with pytest.raises(DataError, match=r"no spots .*gone.tsv"):
        read_samples(sheet(f"s,{slide},{data},gone.tsv,X1", header=header))


def test_an_empty_slide_means_counts_only(sheet, caplog):
    path = sheet(row("X1"), "Y1,Y,,data/ST-cnts/Y1.tsv.gz,,")
    with caplog.at_level(logging.INFO, logger="hypergene"):
        first, second = read_samples(path)
    assert first.slide is not None
    assert second.slide is None
    assert "no image, so counts only: Y1" in caplog.text
    assert read_sample(second).n_obs == 12


def test_pooling_and_species_are_columns_too(sheet):
    header = "sample,patient,slide,data,format,mpp,spot_um,species"
    first, second = read_samples(
        sheet(row("X1", "her2st,0.69,55,mouse"), row("Y1", ",,,"), header=header)
    )
    assert (first.spot_um, first.species) == (55.0, "mouse")
    assert (second.spot_um, second.species) == (None, None)
    for cells, said in (
        ("her2st,0.69,much,", "line 2: The spot_um is 'much'"),
        ("her2st,0.69,-8,", "line 2: The spot_um of sample X1 is -8"),
        ("her2st,0.69,,rat", "line 2: The species of sample X1 is 'rat'"),
    ):
        with pytest.raises(DataError, match=said) as raised:
            read_samples(sheet(row("X1", cells), header=header))
        assert raised.value.hint


def test_a_byte_order_mark_and_quotes_of_excel_are_read(sheet, tmp_path):
    path = sheet('"X1"' + row("X1")[2:])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_samples(path)[0].sample == "X1"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "has a header but no rows"),
        ([row("X1"), row("X1")], "the sample 'X1' twice"),
        ([row("X1"), row("X1").replace("X1,", "Z1,", 1)], "same slide and data as 'X1' and 'Z1'"),
        (["X1,,,data/ST-cnts/X1.tsv.gz,,", "Z1,,,data/ST-cnts/X1.tsv.gz,,"], "same data as 'X1'"),
        ([row("X1").replace("he.jpg", "no.jpg")], r"line 2: There is no slide .*no.jpg"),
        ([row("X1").replace("X1.tsv.gz", "X9.tsv.gz")], r"line 2: There is no data .*X9.tsv.gz"),
        ([row("X1").replace("/he.jpg", "")], "is a folder, not a file"),
        ([row("X1", "visum,0.69")], "no data format 'visum'"),
        ([row("X1", "her2st,much")], "mpp is 'much'"),
        ([row("X1", "her2st,0")], "mpp of sample X1 is 0"),
        ([row("X1", "her2st,-1")], "mpp of sample X1 is -1"),
        ([row("X1", "her2st,nan")], "mpp of sample X1 is nan"),
        ([row("X1") + ",more"], "7 cells on line 2, but 6 columns"),
        ([row("X1").replace("X1,", ",", 1)], "empty sample on line 2"),
        ([row("X1").replace("X1,", "../X1,", 1)], "cannot name a sample"),
    ],
)
def test_a_bad_sheet_is_one_sentence_with_its_name(sheet, rows, said):
    path = sheet(*rows)
    with pytest.raises(DataError, match=said) as raised:
        read_samples(path)
    assert str(path) in raised.value.message
    assert raised.value.hint


def test_an_unknown_format_lists_the_known_ones(sheet):
    with pytest.raises(DataError) as raised:
        read_samples(sheet(row("X1", "visum,")))
    assert set(FORMATS) <= set(re.findall(r"[\w-]+", str(raised.value.hint)))


def test_missing_columns_are_named_with_those_found(sheet):
    with pytest.raises(DataError, match=r"no column slide, data \(found: sample, patient\)"):
        read_samples(sheet("a,b", header="sample,patient"))


def test_another_separator_is_said_so(sheet):
    with pytest.raises(DataError, match="separated by semicolons"):
        read_samples(sheet("a;b;c", header="sample;slide;data"))


def test_an_empty_or_missing_sheet_is_said_so(tmp_path):
    path = tmp_path / "samples.csv"
    with pytest.raises(DataError, match="no file"):
        read_samples(path)
    path.write_text("")
    with pytest.raises(DataError, match="is empty"):
        read_samples(path)


def test_a_folder_gives_every_section_and_says_which_have_no_image(tmp_path, write_pair, caplog):
    write_pair(tmp_path, "B4")
    write_pair(tmp_path, "A1", image=False)
    write_pair(tmp_path, "B1", image=False)
    (tmp_path / "ST-cnts" / "._A1.tsv.gz").write_bytes(b"left by macOS")
    with caplog.at_level(logging.INFO, logger="hypergene"):
        samples = read_samples(tmp_path)
    assert [(s.sample, s.patient, s.section, s.slide is None) for s in samples] == [
        ("A1", "A", "A1", True),
        ("B1", "B", "B1", True),
        ("B4", "B", "B4", False),
    ]
    assert all(sample.mpp is None for sample in samples)
    assert "no image, so counts only: A1, B1" in caplog.text
    assert read_sample(samples[0]).n_obs == 12


def test_a_folder_needs_no_images_at_all(tmp_path, write_pair):
    write_pair(tmp_path, "B4", image=False)
    shutil.rmtree(tmp_path / "ST-imgs")
    (sample,) = read_samples(tmp_path)
    assert sample.slide is None


def test_a_folder_in_another_layout_is_told_what_to_write(tmp_path):
    (tmp_path / "run1" / "outs" / "spatial").mkdir(parents=True)
    with pytest.raises(DataError, match=r"neither the HER2ST layout .*ST-cnts.* HEST") as raised:
        read_samples(tmp_path)
    assert str(tmp_path) in raised.value.message
    assert "sample,patient,slide,data,format,mpp" in str(raised.value.hint)
    (tmp_path / "ST-cnts").mkdir()
    with pytest.raises(DataError, match="ST-cnts holds no counts"):
        read_samples(tmp_path)


def test_a_folder_in_the_layout_of_hest_is_read_as_such(tmp_path):
    for name in ("st", "wsis", "metadata"):
        (tmp_path / name).mkdir()
    (tmp_path / "st" / "TENX1.h5ad").write_bytes(b"not opened yet")
    (sample,) = read_samples(tmp_path)
    assert (sample.sample, sample.format, sample.slide) == ("TENX1", "hest", None)


def test_two_images_of_one_section_are_not_guessed_between(tmp_path, write_pair):
    slide = write_pair(tmp_path, "B4").slide
    slide.with_name("other.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="holds 2 images"):
        read_samples(tmp_path)


def test_a_single_pair_is_a_sample(pair):
    sample = single_sample(pair.slide, pair.counts, mpp=0.69)
    assert (sample.sample, sample.format, sample.patient) == ("he", "her2st", None)
    assert read_sample(sample).n_obs == 12


def test_counts_alone_need_a_name(pair):
    with pytest.raises(DataError, match="no slide to be named after"):
        single_sample(None, pair.counts)
    sample = single_sample(None, pair.counts, sample="X1", species="human")
    assert (sample.sample, sample.slide, sample.species) == ("X1", None, "human")
    assert read_sample(sample).n_obs == 12


def test_data_of_no_known_name_ask_for_a_format(pair, tmp_path):
    unknown = tmp_path / "counts.xlsx"
    unknown.write_bytes(b"x")
    with pytest.raises(DataError, match=r"format of .*counts.xlsx is not known") as raised:
        single_sample(pair.slide, unknown)
    assert set(FORMATS) <= set(re.findall(r"[\w-]+", str(raised.value.hint)))
