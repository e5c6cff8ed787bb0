from __future__ import annotations

from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from hypergene.errors import DataError
from hypergene.output import write_anndata
from hypergene.st import Sample, log1p_cp10k, read_sample

COUNTS = np.array([[5, 0, 1], [2, 3, 0], [0, 0, 7], [1, 1, 1]])


@pytest.fixture
def write(tmp_path):
    """Write an AnnData in squidpy's layout, changed by a function, and make it a sample."""

    def write(change=lambda adata: None, mpp: float | None = None) -> Sample:
        adata = anndata.AnnData(
            X=sparse.csr_matrix(COUNTS, dtype=np.float32),
            obs=pd.DataFrame(
                {"in_tissue": [1, 1, 1, 0], "array_row": [0, 0, 1, 1], "array_col": [0, 2, 1, 3]},
                index=["a-1", "b-1", "c-1", "d-1"],
            ),
            var=pd.DataFrame(
                {"gene_ids": ["ENSG00000000001.4", "ENSG00000000003", "ENSG00000000002"]},
                index=["KRT8", "ERBB2", "ERBB2"],
            ),
            obsm={"spatial": np.array([[100, 200], [200, 200], [150, 287], [250, 287]])},
            uns={"spatial": {"lib": {"scalefactors": {"spot_diameter_fullres": 55.0}}}},
        )
        change(adata)
        path = tmp_path / "data.h5ad"
        adata.write_h5ad(path)
        return Sample("S", "P", tmp_path / "slide.tif", path, "h5ad", mpp, None)

    return write


@pytest.mark.filterwarnings("ignore:.*names are not unique:UserWarning")
class TestH5ad:
    def test_counts_in_x_become_the_canonical_anndata(self, write, assert_canonical):
        adata = read_sample(write())
        assert_canonical(adata)
        assert adata.uns["hypergene"]["counts_from"] == "X"
        assert list(adata.obs_names) == ["a-1", "b-1", "c-1"]
        assert adata.uns["hypergene"]["dropped"]["outside_tissue"] == 1
        assert adata.obs["array_col"].tolist() == [0, 2, 1]
        np.testing.assert_array_equal(adata.layers["counts"].toarray(), COUNTS[:3])
        assert adata.var["gene_ids"].tolist()[0] == "ENSG00000000001"
        # Of two ERBB2 the lower identifier keeps the name, whatever the order in the file.
        assert list(adata.var_names) == ["KRT8", "ERBB2-1", "ERBB2"]
        assert adata.uns["hypergene"]["pitch_px"] == pytest.approx(100, abs=1)

    def test_layer_counts_comes_before_x(self, write):
        def change(adata):
            adata.layers["counts"] = sparse.csr_matrix(COUNTS * 2)
            adata.X = log1p_cp10k(COUNTS)

        adata = read_sample(write(change))
        assert adata.uns["hypergene"]["counts_from"] == 'layers["counts"]'
        np.testing.assert_array_equal(adata.layers["counts"].toarray(), COUNTS[:3] * 2)

    def test_raw_comes_before_x_and_brings_all_its_genes(self, write):
        def change(adata):
            adata.var_names_make_unique()
            full = anndata.AnnData(
                sparse.csr_matrix(np.hstack([COUNTS, COUNTS])),
                obs=adata.obs,
                var=pd.DataFrame(index=list("abcdef")),
            )
            adata.raw = full
            adata.X = log1p_cp10k(COUNTS)

        adata = read_sample(write(change))
        assert adata.uns["hypergene"]["counts_from"] == "raw"
        assert list(adata.var_names) == list("abcdef")

    def test_log_values_in_raw_are_passed_over_for_counts_in_x(self, write):
        def change(adata):
            adata.raw = anndata.AnnData(log1p_cp10k(COUNTS), obs=adata.obs, var=adata.var)

        assert read_sample(write(change)).uns["hypergene"]["counts_from"] == "X"

    def test_a_layer_counts_that_holds_none_is_an_error(self, write):
        def change(adata):
            adata.layers["counts"] = log1p_cp10k(COUNTS)

        with pytest.raises(DataError, match=r"layers\[\"counts\"\] of .*data.h5ad .*not integers"):
            read_sample(write(change))

    def test_no_counts_anywhere_says_what_was_looked_at(self, write):
        def change(adata):
            adata.X = log1p_cp10k(COUNTS)

        with pytest.raises(DataError, match=r"no raw counts: X of .* not integers") as raised:
            read_sample(write(change))
        assert "layers" in str(raised.value.hint)

    def test_ensembl_names_give_way_to_symbols(self, write):
        def change(adata):
            adata.var = pd.DataFrame(
                {"feature_name": ["KRT8", "ERBB2", None]},
                index=["ENSG00000000001.4", "ENSG00000000003", "ENSG00000000002"],
            )

        adata = read_sample(write(change))
        assert list(adata.var_names) == ["KRT8", "ERBB2", "ENSG00000000002"]
        assert adata.var["gene_ids"].tolist() == [f"ENSG0000000000{i}" for i in (1, 3, 2)]

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda a: a.obsm.pop("spatial"), r'no obsm\["spatial"\]'),
            (lambda a: a.obsm.update(spatial=np.zeros((4, 3))), r"shape \(4, 3\)"),
            (lambda a: a.obsm.update(spatial=np.full((4, 2), np.nan)), "4 spots without"),
            (
                lambda a: setattr(a, "obs", a.obs.assign(in_tissue=[1, 2, 0, 1])),
                "in_tissue of .* other",
            ),
            (lambda a: setattr(a, "obs_names", ["a", "a", "b", "c"]), "1 spot names more than"),
            (lambda a: setattr(a, "obs", a.obs.assign(array_row=[0.5, 1, 1, 1])), "array_row of"),
        ],
    )
    def test_a_malformed_file_is_one_sentence_with_its_name(self, write, change, said):
        sample = write(change)
        with pytest.raises(DataError, match=said) as raised:
            read_sample(sample)
        assert str(sample.data) in raised.value.message

    def test_what_is_no_anndata_is_said_so(self, write):
        sample = write()
        whole = sample.data.read_bytes()
        for content in (b"no HDF5", whole[: len(whole) // 2], b""):
            sample.data.write_bytes(content)
            with pytest.raises(DataError, match="cannot be read as AnnData"):
                read_sample(sample)

    def test_spots_of_a_sheet_have_no_meaning_here(self, write):
        sample = write()
        with pytest.raises(DataError, match="positions inside"):
            read_sample(replace(sample, spots=sample.data))

    def test_off_a_lattice_the_array_place_is_minus_one(self, write):
        adata = read_sample(write(lambda a: a.obs.drop(columns="array_row", inplace=True)))
        assert adata.obs["array_row"].tolist() == [-1, -1, -1]

    def test_the_layout_is_said_only_where_it_is_known(self, write):
        assert "layout" not in read_sample(write()).uns["hypergene"]
        layout = read_sample(write(mpp=0.5)).uns["hypergene"]["layout"]
        assert layout["name"] == "given"
        assert layout["diameter_um"] == pytest.approx(27.5)
        assert layout["pitch_um"] == pytest.approx(50, rel=0.01)

        def change(adata):
            adata.uns["hypergene"] = {
                "layout": {"name": "visium", "diameter_um": 55.0, "pitch_um": 100.0}
            }

        about = read_sample(write(change)).uns["hypergene"]
        assert about["layout"]["name"] == "visium"
        assert about["mpp_from_pitch"] == pytest.approx(1, rel=0.01)


def test_an_unknown_format_lists_the_known_ones(pair):
    with pytest.raises(DataError, match="no data format 'microarray'") as raised:
        read_sample(replace(pair.sample, format="microarray"))
    assert {"her2st", "h5ad", "xenium"} <= set(str(raised.value.hint)[:-1].replace(",", "").split())


def test_a_resolution_that_contradicts_the_pitch_is_said(pair):
    right = read_sample(replace(pair.sample, mpp=0.69)).uns["hypergene"]
    assert "warnings" not in right
    wrong = read_sample(replace(pair.sample, mpp=0.5)).uns["hypergene"]
    assert "290.5 px apart" in wrong["warnings"][0]
    assert "0.688 µm/px" in wrong["warnings"][0]
    assert wrong["mpp"] == [0.5, 0.5]


@pytest.mark.parametrize("store", ["zarr", "h5ad"])
def test_the_canonical_anndata_survives_writing(pair, tmp_path, store, assert_canonical):
    adata = read_sample(replace(pair.sample, patient=None, mpp=0.5))
    path = tmp_path / f"out.{store}"
    write_anndata(adata, path, format=store)
    back = anndata.read_zarr(path) if store == "zarr" else anndata.read_h5ad(path)
    assert_canonical(back)
    assert back.obs["patient"].isna().all()
    assert back.uns["hypergene"]["layout"] == adata.uns["hypergene"]["layout"]
    assert back.uns["hypergene"]["dropped"] == adata.uns["hypergene"]["dropped"]
