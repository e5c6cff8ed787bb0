"""AnnData in general: where counts, genes, positions and scale factors are, and what is refused."""

from __future__ import annotations

import json
import logging

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from layouts.anndata_files import (
    DIAMETER_PX,
    PITCH_PX,
    WRITERS,
    library,
    visium_anndata,
    visium_spots,
    write_store,
)
from layouts.made import IDS, MPP, SYMBOLS, made_section
from scipy import sparse

from hypergene.errors import DataError, HypergeneError
from hypergene.output import spatial_uns, write_anndata
from hypergene.spots import layout_named
from hypergene.st import log1p_cp10k, open_image, read_sample
from hypergene.st.formats import anndata_store, h5ad
from hypergene.st.formats.anndata_store import zarr_kind

FROM = {
    "h5ad-x": "X",
    "h5ad-raw": "raw",
    "h5ad-layer": 'layers["counts"]',
    "h5ad-columns": 'layers["raw_counts"]',
    "h5ad-scanpy-visium": "X",
    "zarr-2": "X",
    "zarr-3": "X",
}


@pytest.fixture(scope="module")
def section():
    return made_section()


@pytest.fixture
def written(tmp_path, section):
    """Write a section as an .h5ad after a change, and return its path."""

    def write(change=lambda adata: None):
        adata = visium_anndata(section)
        path = tmp_path / "data.h5ad"
        (change(adata) or adata).write_h5ad(path)
        return path

    return write


def sentence(call, match: str) -> DataError:
    with pytest.raises(DataError, match=match) as raised:
        call()
    assert "\n" not in f"{raised.value.message}{raised.value.hint}"
    return raised.value


def put(place: str, **values):
    """Return a change that assigns columns of obs or var, or keys of uns, obsm, layers."""

    def change(adata) -> None:
        holder = getattr(adata, place)
        for name, value in values.items():
            holder[name] = value

    return change


class TestLayouts:
    @pytest.mark.parametrize("layout", WRITERS)
    def test_counts_places_and_genes_are_those_of_the_section(self, tmp_path, section, layout):
        sample = WRITERS[layout](tmp_path, section)
        adata = h5ad.read(sample.data, sample.spots)
        spots = visium_spots()
        about = adata.uns["hypergene"]
        assert about["counts_from"] == FROM[layout]
        np.testing.assert_array_equal(adata.obsm["spatial"], spots[["x", "y"]])
        np.testing.assert_array_equal(
            adata.X.toarray(), section.draw(adata.obsm["spatial"]).toarray()
        )
        assert adata.X.format == "csr"
        assert adata.X.dtype == np.int32
        assert adata.obs_names.tolist() == spots.index.tolist()
        assert adata.var_names.tolist() == list(SYMBOLS)
        assert adata.var["gene_ids"].tolist() == list(IDS)
        assert about["hires_scale"] == 0.5
        assert about["lowres_scale"] == 0.25
        assert about["spot_diameter_px"] == DIAMETER_PX
        assert about["pitch_px"] == pytest.approx(PITCH_PX)
        if layout == "h5ad-x":  # no array, so no platform is claimed
            assert "layout" not in about
            assert (adata.obs["array_row"] == -1).all()
        else:
            assert about["layout"]["name"] == about["platform"] == "visium"
            np.testing.assert_array_equal(adata.obs["array_col"], spots["array_col"])

    def test_names_and_attributes_tell_them_apart(self, tmp_path, section):
        one = WRITERS["h5ad-x"](tmp_path, section).data
        stores = [WRITERS[f"zarr-{number}"](tmp_path / f"{number}", section) for number in (2, 3)]
        assert h5ad.recognises(one)
        assert not h5ad.recognises_zarr(one)
        for store in stores:
            assert h5ad.recognises_zarr(store.data)
            assert not h5ad.recognises(store.data)

    def test_a_store_is_known_without_attributes_but_never_by_its_suffix(self, tmp_path, section):
        old = WRITERS["zarr-2"](tmp_path / "old", section).data
        (old / ".zattrs").unlink()
        assert zarr_kind(old) == "anndata"  # as anndata 0.7 left it
        images = tmp_path / "image.zarr"
        zarr.open_group(images, mode="w", zarr_format=3, attributes={"multiscales": []})
        for other in (images, tmp_path, tmp_path / "no.zarr", tmp_path / "A1.png"):
            assert zarr_kind(other) is None
        (images / "zarr.json").write_bytes(b"\xff[")
        assert zarr_kind(images) is None

    def test_what_is_read_again_after_writing_is_the_same(self, tmp_path, section):
        sample = WRITERS["h5ad-scanpy-visium"](tmp_path, section)
        first = read_sample(sample)
        for store in ("h5ad", "zarr"):
            path = tmp_path / f"again.{store}"
            write_anndata(first, path, format=store)
            again = h5ad.read(path)
            about = again.uns["hypergene"]
            assert about["counts_from"] == 'layers["counts"]'
            np.testing.assert_array_equal(again.X.toarray(), first.layers["counts"].toarray())
            np.testing.assert_array_equal(again.obsm["spatial"], first.obsm["spatial"])
            pd.testing.assert_frame_equal(again.var, first.var, check_index_type=False)
            for key in ("layout", "platform", "mpp", "spot_diameter_px", "hires_scale"):
                assert about[key] == first.uns["hypergene"][key]


class TestCounts:
    def test_other_layers_are_tried_only_if_no_better(self, written):
        doubled = lambda a: a.layers.update({"Raw_Counts": a.X * 2})  # noqa: E731
        assert h5ad.read(written(doubled)).uns["hypergene"]["counts_from"] == "X"

        def normalised(adata):
            doubled(adata)
            adata.layers["raw"] = log1p_cp10k(adata.X)
            adata.layers["scores"] = adata.X.copy()  # no usual name: never looked at
            adata.X = log1p_cp10k(adata.X)

        adata = h5ad.read(written(normalised))
        assert adata.uns["hypergene"]["counts_from"] == 'layers["Raw_Counts"]'
        assert adata.X.max() % 2 == 0

    def test_without_counts_every_place_that_was_looked_at_is_named(self, written):
        def change(adata):
            adata.raw = adata.copy()
            adata.raw.X.data[0] = 0.5
            adata.X = log1p_cp10k(adata.X)
            adata.layers["umi"] = -adata.X

        error = sentence(lambda: h5ad.read(written(change)), "no raw counts")
        for place in ("raw of", "X of", 'layers["umi"] of'):
            assert place in error.message
        assert "layers" in error.hint

    @pytest.mark.parametrize("block", [1, 7, 1000])
    @pytest.mark.parametrize("made", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
    def test_blocks_of_any_size_give_the_same_matrix(
        self, written, section, monkeypatch, made, block
    ):
        def change(adata):
            adata.X[3:5] = 0  # lines without values
            adata.X.eliminate_zeros()
            adata.X = made(adata.X.toarray())

        path = written(change)
        whole = anndata.read_h5ad(path).to_df().to_numpy()
        monkeypatch.setattr(anndata_store, "_BLOCK", block)
        np.testing.assert_array_equal(h5ad.read(path).X.toarray(), whole)

    def test_what_is_not_needed_is_not_read(self, written):
        path = written(put("layers", other=np.ones((30, 20))))
        with h5py.File(path, "r+") as file:
            for name in ("layers/other", "obsp", "uns/spatial/A1/images/hires"):
                file[name].attrs["encoding-type"] = "of tomorrow"
            file["obs/in_tissue"].attrs["note"] = "kept"
            file["obs"]["junk"] = [1, 2]
        with pytest.raises(Exception, match="of tomorrow"):
            anndata.read_h5ad(path)
        assert h5ad.read(path).n_obs == 30

    def test_features_that_are_no_genes_are_left_out_and_said(self, written, section):
        kinds = ["Gene Expression"] * 17 + ["Antibody Capture"] * 2 + ["CRISPR Guide Capture"]
        adata = h5ad.read(written(put("var", feature_types=kinds)))
        assert adata.var_names.tolist() == list(SYMBOLS[:17])
        np.testing.assert_array_equal(
            adata.X.toarray(), section.draw(adata.obsm["spatial"]).toarray()[:, :17]
        )
        said = adata.uns["hypergene"]["features_left_out"]
        assert said == "2 Antibody Capture, 1 CRISPR Guide Capture"

    def test_no_genes_is_said(self, written):
        assert sentence(lambda: h5ad.read(written(lambda a: a[:, :0].copy())), "no genes").hint


class TestGenes:
    def test_names_with_a_mask_beside_them_are_names(self, tmp_path, section):
        path = tmp_path / "s.h5ad"
        visium_anndata(section).write_h5ad(path)
        plain = h5ad.read(path)
        with (
            h5py.File(path, "r+") as file,
            anndata.settings.override(allow_write_nullable_strings=True),
        ):
            for frame, names in (("obs", plain.obs_names), ("var", plain.var_names)):
                del file[frame]["_index"]
                anndata.io.write_elem(file[frame], "_index", pd.array(list(names), dtype="string"))
                assert isinstance(file[frame]["_index"], h5py.Group)
        masked = h5ad.read(path)
        assert list(masked.obs_names) == list(plain.obs_names)
        assert list(masked.var_names) == list(plain.var_names)

    @pytest.mark.parametrize(
        ("index", "columns", "said"),
        [
            (IDS, {"Symbol": SYMBOLS}, 'var["Symbol"]'),
            (IDS, {"gene_name": pd.Categorical(SYMBOLS), "name": "x"}, 'var["gene_name"]'),
            ([f"{name}.7" for name in IDS], {"SYMBOL": SYMBOLS}, 'var["SYMBOL"]'),
            (SYMBOLS, {"ensembl_id": IDS, "gene_symbols": "not these"}, "index"),
            ([str(i) for i in range(20)], {"genes": SYMBOLS, "ENSEMBL": IDS}, 'var["genes"]'),
        ],
    )
    def test_symbols_and_identifiers_are_found_in_whichever_column(
        self, written, index, columns, said
    ):
        change = lambda a: setattr(a, "var", pd.DataFrame(columns, index=list(index)))  # noqa: E731
        adata = h5ad.read(written(change))
        assert adata.var_names.tolist() == list(SYMBOLS)
        assert adata.var["gene_ids"].tolist() == list(IDS)
        assert adata.uns["hypergene"]["genes_from"] == said

    def test_identifiers_serve_where_there_is_no_symbol(self, written):
        def change(adata):
            adata.var = pd.DataFrame({"gene_symbol": ["", *SYMBOLS[1:]]}, index=list(IDS))

        assert h5ad.read(written(change)).var_names.tolist() == [IDS[0], *SYMBOLS[1:]]
        numbered = pd.DataFrame({"gene_id": IDS}, index=[str(i) for i in range(20)])
        adata = h5ad.read(written(lambda a: setattr(a, "var", numbered)))
        assert adata.var_names.tolist() == list(IDS)

    def test_numbers_are_no_names(self, written):
        numbered = pd.DataFrame({"mean": 1.0}, index=[str(i) for i in range(20)])
        error = sentence(
            lambda: h5ad.read(written(lambda a: setattr(a, "var", numbered))),
            "numbered and not named.*columns mean",
        )
        assert "index of var" in error.hint


class TestPlaces:
    @pytest.mark.parametrize(
        "columns",
        [["y", "x"], ["pxl_row_in_fullres", "pxl_col_in_fullres"], ["imagerow", "imagecol"]],
    )
    def test_a_data_frame_is_read_by_the_names_of_its_columns(self, written, columns):
        xy = visium_spots()[["y", "x"]].set_axis(columns, axis=1)
        adata = h5ad.read(written(put("obsm", spatial=xy)))
        np.testing.assert_array_equal(adata.obsm["spatial"], visium_spots()[["x", "y"]])
        assert "warnings" not in adata.uns["hypergene"]

    def test_columns_of_other_names_are_taken_as_they_come_and_said(self, written, caplog):
        xy = visium_spots()[["x", "y"]].set_axis(["a", "b"], axis=1)
        with caplog.at_level(logging.WARNING):
            adata = h5ad.read(written(put("obsm", spatial=xy)))
        np.testing.assert_array_equal(adata.obsm["spatial"], xy)
        assert "the first is taken as x" in adata.uns["hypergene"]["warnings"][0]
        assert adata.uns["hypergene"]["warnings"][0] in caplog.text

    def test_integers_become_float64(self, written):
        xy = visium_spots()[["x", "y"]].to_numpy()
        adata = h5ad.read(written(put("obsm", spatial=xy.astype(np.uint16))))
        assert adata.obsm["spatial"].dtype == np.float64
        np.testing.assert_array_equal(adata.obsm["spatial"], np.floor(xy))

    def test_a_third_column_is_left_out_only_if_it_says_nothing(self, written):
        xy = visium_spots()[["x", "y"]].to_numpy()
        adata = h5ad.read(written(put("obsm", spatial=np.c_[xy, np.full(30, 7)])))
        np.testing.assert_array_equal(adata.obsm["spatial"], xy)
        assert "third column, 7 in all spots" in adata.uns["hypergene"]["warnings"][0]
        sentence(
            lambda: h5ad.read(written(put("obsm", spatial=np.c_[xy, xy[:, 0]]))),
            r"shape \(30, 3\), not \(30, 2\)",
        )

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (put("obsm", spatial=np.full((30, 2), 5)), "all spots on one point"),
            (put("obsm", spatial=np.full((30, 2), 1e9)), "more than 1e.07 px away"),
            (put("obsm", spatial=np.array([["a", "b"]] * 30)), "holds no numbers"),
            (put("obs", in_tissue="maybe"), "in_tissue .* other than 0 and 1"),
            (lambda a: a.obsm.update(X_pca=a.obsm.pop("spatial")), r"no .* \(obsm holds: X_pca\)"),
        ],
    )
    def test_what_is_no_place_is_one_sentence(self, written, change, said):
        path = written(change)
        error = sentence(lambda: h5ad.read(path), said)
        assert str(path) in error.message
        assert error.hint

    @pytest.mark.parametrize(
        "change",
        [
            lambda a: a.obsm.update(spatial=a.obsm["spatial"] * [1, 1.2]),  # not a hexagon
            lambda a: a.obs.update({"array_col": a.obs["array_col"] // 2}),
            lambda a: a.uns["spatial"]["A1"]["scalefactors"].update(spot_diameter_fullres=24.0),
            lambda a: a.uns["spatial"]["A1"]["scalefactors"].update(microns_per_pixel=0.5),
            lambda a: a[:6].copy(),
        ],
    )
    def test_visium_is_claimed_only_where_all_agrees(self, written, change):
        def named(adata):
            adata.uns["spatial"]["A1"]["metadata"]["chemistry_description"] = "Visium V1"
            return change(adata)

        assert "layout" in h5ad.read(written()).uns["hypergene"]
        about = h5ad.read(written(named)).uns["hypergene"]
        assert "layout" not in about
        assert "platform" not in about

    def test_microns_per_pixel_of_the_scale_factors_are_taken(self, written):
        def change(adata):
            adata.uns["spatial"]["A1"]["scalefactors"]["microns_per_pixel"] = MPP

        about = h5ad.read(written(change)).uns["hypergene"]
        assert about["mpp"] == [MPP, MPP]
        assert about["mpp_source"] == 'uns["spatial"]["A1"]["scalefactors"]["microns_per_pixel"]'
        assert about["platform"] == "visium"

    @pytest.mark.parametrize(("side_um", "known"), [(100.0, True), (50.0, False)])
    def test_bins_are_believed_if_they_are_as_far_apart_as_they_say(self, written, side_um, known):
        row, column = np.divmod(np.arange(30), 6)

        def change(adata):
            adata.obs["array_row"], adata.obs["array_col"] = row, column
            adata.obsm["spatial"] = np.column_stack([column, row]) * 25.0 + 80
            adata.uns["spatial"]["A1"]["scalefactors"] = {
                "bin_size_um": side_um, "microns_per_pixel": MPP, "spot_diameter_fullres": 25.0,
            }  # fmt: skip

        about = h5ad.read(written(change)).uns["hypergene"]
        assert ("layout" in about) == known
        if known:
            assert about["platform"] == "visium-hd"
            assert about["layout"]["lattice"] == about["layout"]["shape"] == "square"
            assert about["layout"]["pitch_um"] == 100.0

    def test_scale_factors_that_are_no_positive_numbers_are_not_taken(self, written):
        def change(adata):
            adata.uns["spatial"]["A1"]["scalefactors"] = {
                "spot_diameter_fullres": np.nan, "tissue_hires_scalef": "half",
                "tissue_lowres_scalef": np.array([0.25]), "microns_per_pixel": -1.0,
            }  # fmt: skip

        about = h5ad.read(written(change)).uns["hypergene"]
        assert about["lowres_scale"] == 0.25
        assert not {"spot_diameter_px", "hires_scale", "mpp"} & set(about)


class TestSections:
    @staticmethod
    def both(section, names=("A1", "B1")) -> anndata.AnnData:
        parts = []
        for name in names:
            part = visium_anndata(section)
            part.obs_names = [f"{spot}-{name}" for spot in part.obs_names]
            part.obs["place"] = name
            parts.append(part)
        joined = anndata.concat(parts, merge="same")
        joined.uns["spatial"] = {name: library(section) for name in names}
        return joined

    def test_several_are_named_with_the_column_to_split_by(self, written, section):
        error = sentence(
            lambda: h5ad.read(written(lambda a: self.both(section))),
            r"holds 2 sections \(A1, B1, by obs\['place'\]\)",
        )
        assert "adata[adata.obs['place'] == 'A1'].copy()" in error.hint

    def test_one_that_was_cut_out_keeps_its_own_scale_factors(self, written, section):
        def change(_):
            joined = self.both(section)
            joined.uns["spatial"]["B1"]["scalefactors"]["tissue_hires_scalef"] = 0.125
            return joined[joined.obs["place"] == "B1"].copy()

        about = h5ad.read(written(change)).uns["hypergene"]
        assert about["library"] == "B1"
        assert about["hires_scale"] == 0.125

    def test_libraries_that_no_column_tells_apart_are_refused(self, written, section):
        change = lambda _: self.both(section)[:30, :].copy()  # noqa: E731

        def untold(adata):
            cut = change(adata)
            cut.obs["place"] = "somewhere"
            return cut

        assert h5ad.read(written(change)).uns["hypergene"]["library"] == "A1"
        sentence(lambda: h5ad.read(written(untold)), "2 libraries .*A1, B1.* no column of obs")

    def test_a_library_id_speaks_even_without_uns(self, written, section):
        def change(_):
            joined = self.both(section)
            joined.obs = joined.obs.rename(columns={"place": "library_id"})
            del joined.uns["spatial"]
            return joined

        sentence(lambda: h5ad.read(written(change)), r"2 sections .*by obs\['library_id'\]")

    def test_an_array_with_two_spots_a_place_gives_mixed_sections_away(self, written, section):
        def change(_):
            joined = self.both(section)
            del joined.uns["spatial"]
            return joined

        error = sentence(lambda: h5ad.read(written(change)), "100% of the spots share array_row")
        assert "remove array_row" in error.hint


class TestRefused:
    def test_predictions_are_not_measurements(self, written):
        path = written(put("uns", hypergene={"model": {"name": "default"}, "units": "log1p"}))
        error = sentence(lambda: h5ad.read(path), "hypergene predicted, and nothing measured")
        assert str(path) in error.message
        assert h5ad.read(written(put("uns", hypergene={"units": "log1p"}))).n_obs == 30

    def test_a_spatialdata_store_is_told_its_format(self, tmp_path):
        store = tmp_path / "s.zarr"
        attributes = {"spatialdata_attrs": {"version": "0.2"}}
        zarr.open_group(store, mode="w", zarr_format=3, attributes=attributes)
        assert "spatialdata" in sentence(lambda: h5ad.read(store), "SpatialData store").hint

    @pytest.mark.parametrize("column", ["in_tissue", "_index"])
    def test_files_from_before_anndata_07_are_told_what_to_do(self, written, column):
        path = written()
        with h5py.File(path, "r+") as file:
            del file["obs"]
            file["obs"] = np.zeros(30, dtype=[("index", "S8"), (column, "i4")])
        assert "anndata.read_h5ad" in sentence(lambda: h5ad.read(path), "before 0.7").hint

    def test_categories_of_anndata_07_are_understood(self, written):
        path = written(lambda a: setattr(a, "var", pd.DataFrame(index=list(IDS))))
        with h5py.File(path, "r+") as file:
            var = file["var"]
            var.attrs["encoding-version"] = "0.1.0"
            var.attrs["column-order"] = ["gene_symbols"]
            var["gene_symbols"] = np.arange(20)[::-1].astype("i1")
            var["__categories/gene_symbols"] = list(SYMBOLS)[::-1]
            var["gene_symbols"].attrs["categories"] = var["__categories/gene_symbols"].ref
        assert h5ad.read(path).var_names.tolist() == list(SYMBOLS)


class TestDamage:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda f: f["X/indices"].__setitem__(0, 20), "X of .* no valid sparse matrix"),
            (lambda f: f["X/indices"].__setitem__(0, -1), "X of .* no valid sparse matrix"),
            (lambda f: f["X/indptr"].__setitem__(1, 10**6), "X of .* no valid sparse matrix"),
            (lambda f: f["X/indptr"].__setitem__(0, 1), "X of .* no valid sparse matrix"),
            (lambda f: f["X"].attrs.__setitem__("shape", [30, 10**9]), "X of .* of shape"),
            (lambda f: f["X/data"].__setitem__(0, np.nan), "1 values that are NaN"),
            (lambda f: f["X/data"].__setitem__(0, -3), "negative"),
            (lambda f: f["X/data"].__setitem__(0, 1.5), "not integers"),
            (lambda f: f.__delitem__("X/indices"), "cannot be read as AnnData"),
            (lambda f: f.__delitem__("obs"), "cannot be read as AnnData"),
            (lambda f: f.__delitem__("var"), "cannot be read as AnnData"),
            (lambda f: f["obs"].attrs.__setitem__("_index", "nowhere"), "cannot be read"),
            (
                lambda f: f["X"].attrs.__setitem__("encoding-type", "awkward-array"),
                "X of .*awkward",
            ),
            (lambda f: (f.__delitem__("X"), f.create_dataset("X", data=[b"a"])), "X of .*shape"),
            (
                lambda f: (
                    f.__delitem__("obs/in_tissue"),
                    f["obs"].create_dataset("in_tissue", (9,), "i1"),
                ),
                "obs of .* has 30 rows, but its column in_tissue has 9",
            ),
            (
                lambda f: (
                    f.__delitem__("obsm/spatial"),
                    f["obsm"].create_dataset("spatial", (2**31, 2), "f4", chunks=(1024, 2)),
                ),
                "obsm/spatial of .* claims to hold 16.0 GiB",
            ),
        ],
    )
    def test_every_lie_inside_a_file_is_one_sentence(self, written, change, said):
        path = written()
        with h5py.File(path, "r+") as file:
            change(file)
        error = sentence(lambda: h5ad.read(path), said)
        assert str(path) in error.message
        assert error.hint

    @pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
    def test_a_file_cut_short_is_one_sentence(self, written, share):
        path = written()
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        assert str(path) in sentence(lambda: h5ad.read(path), "cannot be read as AnnData").message

    def test_nothing_there_is_said(self, tmp_path):
        sentence(lambda: h5ad.read(tmp_path / "no.h5ad"), "is not a file")
        sentence(lambda: h5ad.read(tmp_path), "cannot be read as AnnData")

    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_lost_chunks_are_not_taken_for_zeros(self, tmp_path, section, zarr_format):
        path = tmp_path / "s.zarr"
        write_store(visium_anndata(section), path, zarr_format)
        for array in ("X/data", "X/indices", "obsm/spatial", "obs/_index"):
            # Text may have a mask beside its values.
            values = path / array / "values"
            folder = values if values.is_dir() else path / array
            files = [f for f in folder.rglob("*") if f.is_file()]
            (chunk,) = (f for f in files if f.name not in ("zarr.json", ".zarray", ".zattrs"))
            content = chunk.read_bytes()
            chunk.unlink()
            sentence(lambda: h5ad.read(path), f"{array.split('/')[0]}.* lacks 1 of its 1 chunks")
            chunk.write_bytes(content)
        assert h5ad.read(path).n_obs == 30

    def test_a_damaged_chunk_is_one_sentence(self, tmp_path, section):
        path = tmp_path / "s.zarr"
        write_store(visium_anndata(section), path, 3)
        for chunk in (path / "X" / "data").rglob("0"):
            chunk.write_bytes(chunk.read_bytes()[:20])
        sentence(lambda: h5ad.read(path), "cannot be read as AnnData")

    def test_pickles_are_never_read(self, tmp_path, section):
        path = tmp_path / "s.zarr"
        write_store(visium_anndata(section), path, 2)
        (path / ".zmetadata").unlink()
        array = path / "obs" / "in_tissue" / ".zarray"
        filters = {"filters": [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 5}]}
        array.write_text(json.dumps(json.loads(array.read_text()) | filters | {"dtype": "|O"}))
        sentence(lambda: h5ad.read(path), "obs/in_tissue of .* Python pickles")

    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_a_store_without_one_of_its_files_gives_the_counts_or_a_sentence(
        self, tmp_path, section, zarr_format
    ):
        path = tmp_path / "s.zarr"
        write_store(visium_anndata(section), path, zarr_format)
        whole = h5ad.read(path).X.toarray()
        places = (path, path / "obsm", path / "obs" / "_index")
        files = [f for place in places for f in place.iterdir() if f.is_file()]
        files += [f for f in (path / "X").rglob("*") if f.is_file()]
        refused = 0
        for file in files:
            content = file.read_bytes()
            file.unlink()
            try:
                np.testing.assert_array_equal(h5ad.read(path).X.toarray(), whole)
            except HypergeneError as error:
                refused += 1
                assert str(path) in error.message
            file.write_bytes(content)
        assert refused >= 3


@pytest.fixture(scope="module")
def tools():
    """Import scanpy and squidpy, which takes seconds."""
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    yield pytest.importorskip("scanpy"), pytest.importorskip("squidpy")
    plt.close("all")


class TestOtherTools:
    def test_scanpy_and_squidpy_open_and_draw_what_is_written(self, tools, tmp_path, section):
        scanpy, squidpy = tools
        sample = WRITERS["h5ad-scanpy-visium"](tmp_path, section)
        adata = read_sample(sample)
        with open_image(sample, adata) as slide:
            adata.uns["spatial"] = spatial_uns(slide, sample.sample, DIAMETER_PX)
        path = tmp_path / "measured.h5ad"
        write_anndata(adata, path, format="h5ad")
        theirs = scanpy.read_h5ad(path)
        axes = squidpy.pl.spatial_scatter(theirs, color="ERBB2", return_ax=True)
        np.testing.assert_array_equal(axes.images[0].get_array(), section.picture)
        assert len(axes.collections[0].get_array()) == adata.n_obs

    def test_what_scanpy_makes_of_counts_is_never_taken_for_them(self, written):
        def change(adata):
            adata.X = log1p_cp10k(adata.X)
            adata.raw = adata
            values = adata.X.toarray()
            adata.X = (values - values.mean(axis=0)) / values.std(axis=0)

        error = sentence(lambda: h5ad.read(written(change)), "no raw counts: raw of .* X of")
        assert "ln(1 + counts" in error.message

    def test_the_layout_is_that_of_the_platform(self, written):
        found = h5ad.read(written()).uns["hypergene"]["layout"]
        visium = layout_named("visium")
        assert (found["diameter_um"], found["pitch_um"]) == (visium.diameter_um, visium.pitch_um)
