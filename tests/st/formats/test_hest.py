"""HEST-1k: what the metadata state, and where they must not be believed."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
from layouts.hest import WRITERS, grid, write_section
from layouts.made import MPP, SYMBOLS, made_section

from hypergene.errors import DataError
from hypergene.st import open_image
from hypergene.st.formats import h5ad, hest
from hypergene.st.pitch import nearest_pitch_px

LAYOUTS = {
    "hest-visium": ("visium", "visium", "hexagon", "circle", 55.0, 100.0),
    "hest-st": ("st", "st", "square", "circle", 100.0, 200.0),
    "hest-xenium": ("xenium", "grid", "square", "square", 100.0, 100.0),
    "hest-visium-hd": ("visium-hd", "grid", "square", "square", 128.0, 128.0),
}


@pytest.fixture(scope="module")
def section():
    return made_section()


@pytest.fixture
def sample(tmp_path, section):
    return WRITERS["hest-visium"](tmp_path, section)


def restate(sample, **changes) -> None:
    """Change the metadata of a sample; ... removes a key."""
    path = sample.data.parent.parent / "metadata" / f"{sample.sample}.json"
    stated = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: v for key, v in stated.items() if v is not ...}))


class TestRead:
    @pytest.mark.parametrize("layout", WRITERS)
    def test_a_section_is_read_with_its_layout_and_resolution(self, tmp_path, section, layout):
        sample = WRITERS[layout](tmp_path, section)
        adata = hest.read(sample.data, sample.spots)
        about = adata.uns["hypergene"]
        platform, name, lattice, shape, diameter, pitch = LAYOUTS[layout]
        assert about["platform"] == platform
        assert about["layout"] == {
            "name": name, "lattice": lattice, "shape": shape,
            "diameter_um": diameter, "pitch_um": pitch, "orientation_deg": 0.0,
        }  # fmt: skip
        assert about["mpp"] == [MPP, MPP]
        assert about["mpp_source"] == "HEST metadata pixel_size_um_estimated"
        assert about["pitch_px"] == pytest.approx(pitch / MPP, rel=0.02)
        # HEST's own scale factor claims 55 µm for whatever there is.
        assert about["spot_diameter_px"] == pytest.approx(diameter / MPP)
        assert about["counts_from"] == "X"
        assert about["organ"] == "Breast"
        assert "warnings" not in about
        assert adata.var_names.tolist() == list(SYMBOLS)
        np.testing.assert_array_equal(
            adata.X.toarray(), section.draw(adata.obsm["spatial"]).toarray()
        )

    def test_the_slide_opens_at_the_resolution_that_only_the_metadata_know(self, sample, section):
        with open_image(sample, hest.read(sample.data)) as slide:
            assert slide.dimensions == section.picture.shape[1::-1]
            assert slide.mpp.x == slide.mpp.y == MPP

    def test_controls_of_a_panel_are_no_genes(self, tmp_path, section):
        sample = WRITERS["hest-xenium"](tmp_path, section)
        assert h5ad.read(sample.data).n_vars == len(SYMBOLS) + 3
        about = hest.read(sample.data).uns["hypergene"]
        assert about["features_left_out"] == "1 NegControlProbe, 2 BLANK"

    def test_legacy_spots_askew_do_not_shrink_the_pitch(self, tmp_path, section):
        adata = hest.read(WRITERS["hest-st"](tmp_path, section).data)
        nearest = nearest_pitch_px(adata.obsm["spatial"])
        assert abs(adata.uns["hypergene"]["pitch_px"] - 50) < abs(nearest - 50)

    def test_a_file_is_recognised_by_its_neighbours(self, sample, tmp_path):
        assert hest.recognises(sample.data)
        assert not hest.recognises(sample.slide)
        assert hest.recognises_folder(tmp_path)
        assert not hest.recognises_folder(tmp_path / "st")
        (tmp_path / "metadata").rename(tmp_path / "other")
        assert not hest.recognises(sample.data)
        assert hest.recognises_folder(tmp_path)

    def test_squares_without_a_resolution_have_no_layout_and_say_so(self, tmp_path, section):
        sample = WRITERS["hest-xenium"](tmp_path, section)
        restate(sample, pixel_size_um_estimated=None)
        about = hest.read(sample.data).uns["hypergene"]
        assert not {"mpp", "mpp_source", "layout"} & set(about)
        assert "size of its squares is not known" in about["warnings"][0]

    def test_printed_spots_without_sizes_are_the_platform_s(self, sample):
        restate(sample, spot_diameter=..., inter_spot_dist=None, pixel_size_um_estimated=...)
        about = hest.read(sample.data).uns["hypergene"]
        assert (about["layout"]["diameter_um"], about["layout"]["pitch_um"]) == (55.0, 100.0)
        assert "mpp" not in about

    def test_spots_that_would_overlap_are_not_believed(self, tmp_path, section):
        # HEST's own reader swaps both for one study.
        sample = WRITERS["hest-st"](tmp_path, section)
        restate(sample, inter_spot_dist=110.0, spot_diameter=150.0)
        about = hest.read(sample.data).uns["hypergene"]
        assert "layout" not in about
        assert "overlap" in about["warnings"][0]
        assert "pixel_size_um_estimated" in about["warnings"][0]

    @pytest.mark.parametrize(("sizes", "known"), [((30.0, 60.0), True), ((None, 60.0), False)])
    def test_another_technology_has_the_layout_it_states(self, tmp_path, section, sizes, known):
        stated = {
            "st_technology": "Slide-tags", "spot_diameter": sizes[0], "inter_spot_dist": sizes[1],
        }  # fmt: skip
        sample = write_section(tmp_path, section, grid(15), stated)
        about = hest.read(sample.data).uns["hypergene"]
        assert "no technology that is known (Slide-tags)" in about["warnings"][0]
        assert "platform" not in about
        assert ("layout" in about) == known
        if known:
            assert about["layout"]["lattice"] == "given"


class TestBadInput:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "cannot be read as JSON"),
            (b'{"id": "A1"', "cannot be read as JSON"),
            (b"\xff\xfe", "cannot be read as JSON"),
            (b"[" * 100_000, "cannot be read as JSON"),
            (b"[1]", "holds no metadata"),
            (b'{"pixel_size_um_estimated": "half"}', "'half' as pixel_size_um_estimated"),
            (b'{"pixel_size_um_estimated": 0}', "'0' as pixel_size_um_estimated"),
            (b'{"pixel_size_um_estimated": -0.5}', "'-0.5' as pixel_size_um_estimated"),
            (b'{"pixel_size_um_estimated": Infinity}', "'inf' as pixel_size_um_estimated"),
            (b'{"pixel_size_um_estimated": {"x": 1}}', "as pixel_size_um_estimated"),
            (b'{"st_technology": "Visium", "spot_diameter": "wide"}', "'wide' as spot_diameter"),
        ],
    )
    def test_bad_metadata_are_one_sentence(self, sample, content, said):
        path = sample.data.parent.parent / "metadata" / "A1.json"
        path.write_bytes(content)
        with pytest.raises(DataError, match=said) as raised:
            hest.read(sample.data)
        assert str(path) in raised.value.message
        assert raised.value.hint
        assert "\n" not in str(raised.value)
        if "spot_diameter" not in said:  # nobody needs it to list the samples
            with pytest.raises(DataError, match=said):
                hest.samples_of(path.parents[1])

    def test_missing_metadata_are_named(self, sample):
        (sample.data.parent.parent / "metadata" / "A1.json").unlink()
        with pytest.raises(DataError, match=r"no metadata file .*A1.json for .*A1.h5ad") as raised:
            hest.read(sample.data)
        assert "h5ad" in raised.value.hint

    def test_a_bad_anndata_and_spots_of_a_sheet_are_refused(self, sample):
        with pytest.raises(DataError, match="positions inside"):
            hest.read(sample.data, sample.data)
        sample.data.write_bytes(b"no HDF5")
        with pytest.raises(DataError, match="cannot be read as AnnData"):
            hest.read(sample.data)


class TestSamples:
    @pytest.fixture
    def folder(self, tmp_path):
        """Write four sections: one whole, one without slide, without metadata, without numbers."""
        for name in ("TENX2", "NCBI7", "NCBI8", "INT1"):
            WRITERS["hest-visium"](tmp_path, made_section(name, patient="1"))
        (tmp_path / "wsis" / "NCBI7.tif").unlink()
        (tmp_path / "metadata" / "NCBI8.json").unlink()
        int1 = hest.samples_of(tmp_path)[0]
        restate(int1, patient=float("nan"), pixel_size_um_estimated=None)
        (tmp_path / "st" / "._INT1.h5ad").write_bytes(b"Finder was here")
        (tmp_path / "wsis" / "alone.tif").write_bytes(b"")
        return tmp_path

    def test_all_are_listed_with_what_is_known(self, folder):
        samples = hest.samples_of(folder)
        assert [s.sample for s in samples] == ["INT1", "NCBI7", "NCBI8", "TENX2"]
        assert [s.patient for s in samples] == [None, "Patient 1", None, "Patient 1"]
        assert [s.mpp for s in samples] == [None, MPP, None, MPP]
        assert [s.slide and s.slide.name for s in samples] == [
            "INT1.tif", None, "NCBI8.tif", "TENX2.tif",
        ]  # fmt: skip
        assert {s.format for s in samples} == {"hest"}
        assert samples[3].data == folder / "st" / "TENX2.h5ad"
        read = hest.read(samples[3].data)
        assert read.n_obs == 30

    def test_what_lacks_is_said(self, folder, caplog):
        with caplog.at_level(logging.INFO):
            hest.samples_of(folder)
        for said in (
            "no slide in wsis for 1 sections (NCBI7)",
            "no metadata for 1 sections (NCBI8)",
            "no pixel_size_um_estimated for 1 sections (INT1)",
            "no patient for 1 sections (INT1)",
            "1 slides have no file in st",
        ):
            assert said in caplog.text

    def test_patients_of_two_studies_are_two_patients(self, folder):
        samples = {s.sample: s for s in hest.samples_of(folder)}
        assert samples["NCBI7"].patient == samples["TENX2"].patient
        restate(samples["TENX2"], dataset_title="Another\n study ")
        patients = {s.sample: s.patient for s in hest.samples_of(folder)}
        assert patients["NCBI7"] == "Patient 1 (A made study)"
        assert patients["TENX2"] == "Patient 1 (Another study)"
        assert patients["INT1"] is None

    def test_an_empty_folder_is_one_sentence(self, tmp_path):
        (tmp_path / "st").mkdir()
        for folder in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(DataError, match="not in HEST's layout") as raised:
                hest.samples_of(folder)
            assert str(folder) in raised.value.message


def test_names_by_identifier_and_sections_of_two_species_reach_the_reader(sample):
    # HEST's xenografts name the genes of both genomes by prefix; the species is asked for later.
    stored = anndata.read_h5ad(sample.data)
    stored.var = pd.DataFrame(index=[f"GRCh38_{name}" for name in SYMBOLS])
    stored.write_h5ad(sample.data)
    assert hest.read(sample.data).var_names[0] == f"GRCh38_{SYMBOLS[0]}"


def test_a_sample_of_a_folder_is_the_one_that_was_written(tmp_path, section):
    written = WRITERS["hest-visium"](tmp_path, section)
    (listed,) = hest.samples_of(tmp_path)
    assert listed == replace(written, patient=f"Patient {written.patient}", mpp=MPP)
