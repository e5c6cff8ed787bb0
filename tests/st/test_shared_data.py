"""On the real sections: what data/README.md says of them holds."""

from __future__ import annotations

import numpy as np
import pytest

from hypergene.spots import layout_named
from hypergene.st import GeneSpace, read_coords, read_sample, read_samples


@pytest.fixture(scope="module")
def listed(shared_data):
    return read_samples(shared_data / "her2st")


@pytest.fixture(scope="module")
def samples(listed):
    return [sample for sample in listed if sample.slide is not None]


def test_the_folder_holds_five_sections_with_an_image_among_35(listed, samples):
    assert [s.sample for s in listed] == sorted(s.sample for s in listed)
    assert len(listed) == 35
    assert {s.patient for s in listed} == set("ABCDEFGH")
    assert [(s.sample, s.patient) for s in samples] == [
        ("B4", "B"), ("C3", "C"), ("C4", "C"), ("C5", "C"), ("C6", "C"),
    ]  # fmt: skip


def test_all_five_join_and_lie_290_px_apart(samples, assert_canonical):
    lost, tables = {}, {}
    for sample in samples:
        adata = read_sample(sample)
        assert_canonical(adata)
        about = adata.uns["hypergene"]
        lost[sample.sample] = about["dropped"].pop("positions_without_counts")
        assert set(about["dropped"].values()) == {0}
        assert about["pitch_px"] == pytest.approx(291, abs=1)
        assert about["mpp_from_pitch"] == pytest.approx(0.69, rel=0.01)
        tables[sample.sample] = adata.var
        if sample.sample == "B4":
            assert adata.shape == (283, 15289)
            assert np.median(adata.obs["total_counts"]) == pytest.approx(648, abs=2)
        if sample.sample == "C6":
            assert np.median(adata.obs["total_counts"]) == pytest.approx(12428, abs=2)
    assert lost == {"B4": 1, "C3": 2, "C4": 3, "C5": 2, "C6": 1}
    shared = GeneSpace.of(tables).genes
    assert len(shared) == 13982
    assert {"ERBB2", "FO538757.1"} <= set(shared)


def test_every_section_has_positions_that_can_be_read(shared_data):
    tables = sorted((shared_data / "her2st" / "ST-spotfiles").glob("*_selection.tsv"))
    assert len(tables) == 35
    for table in tables:
        assert len(read_coords(table, layout=layout_named("st"), mpp=(0.69, 0.69))) > 100


def test_positions_are_the_same_read_as_coordinates(shared_data, samples):
    path = shared_data / "her2st" / "ST-spotfiles" / "C3_selection.tsv"
    spots = read_coords(path, layout=layout_named("st"), mpp=(0.69, 0.69))
    adata = read_sample(samples[1])
    places = dict(zip(spots.names.tolist(), spots.xy_px.tolist(), strict=True))
    assert [places[name] for name in adata.obs_names] == adata.obsm["spatial"].tolist()
