"""One sample, in any format, as the canonical AnnData."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from hypergene.errors import DataError
from hypergene.slide.resolution import TOLERANCE
from hypergene.spots import Layout
from hypergene.st.formats import FORMATS, format_named
from hypergene.st.normalise import UNITS, log1p_cp10k
from hypergene.st.pitch import pitch_contradicts
from hypergene.st.sample import Sample
from hypergene.st.species import take_species

_log = logging.getLogger(__name__)


def read_sample(sample: Sample) -> AnnData:
    """Read a sample's data; the slide is not opened.

    Parameters
    ----------
    sample
        As :func:`hypergene.st.read_samples` gives it.

    Returns
    -------
    AnnData
        ``X``: float32 CSR, log1p CP10k over all genes; ``layers["counts"]``: int32 CSR; ``obs``:
        in_tissue (int8, all 1), array_row, array_col (int32; -1 off any lattice), sample, patient,
        section (categories; a patient who is not known is missing), total_counts (int64);
        ``var``: unique symbols, ``gene_ids`` where known; ``obsm["spatial"]``: float64 (x, y),
        level-0 px, spot centres. Spots outside the tissue, without position or without counts are
        left out. ``uns["hypergene"]``: units, genes_measured, format, counts_from, dropped (spots
        left out, by reason), species, warnings if there are any, and where known layout (the fields
        of :class:`hypergene.spots.Layout`), pitch_px (measured), spot_diameter_px, mpp [x, y] with
        mpp_source, mpp_from_pitch.

    Raises
    ------
    DataError
        Unknown format, or data that are missing, malformed, or left without spots.
    """
    known = format_named(sample.format)
    if sample.spot_um is not None and not known.pools:
        pooling = ", ".join(other.name for other in FORMATS.values() if other.pools)
        raise DataError(
            f"The spots of {sample.data} are as {sample.format} has them, but a spot_um of "
            f"{sample.spot_um:g} was given.",
            hint=f"Leave the column 'spot_um' empty but for {pooling}.",
        )
    adata = known.read(sample)
    adata = take_species(adata, sample.species, str(sample.data))
    about: dict[str, Any] = adata.uns["hypergene"]
    in_tissue = adata.obs["in_tissue"].to_numpy(dtype=bool)
    totals = np.asarray(adata.X.sum(axis=1, dtype=np.int64)).ravel()
    kept = in_tissue & (totals > 0)
    about["dropped"] = {
        "counts_without_position": 0,
        "positions_without_counts": 0,
        **about["dropped"],
        "outside_tissue": int((~in_tissue).sum()),
        "zero_counts": int((in_tissue & (totals == 0)).sum()),
    }
    if not kept.any():
        raise DataError(
            f"{sample.data} has no spot left: of {adata.n_obs}, "
            f"{about['dropped']['outside_tissue']} are outside the tissue and "
            f"{about['dropped']['zero_counts']} have no counts.",
            hint="Is this the right file?",
        )
    adata = adata[kept].copy()
    adata.obs["total_counts"] = totals[kept]
    for column, name in (
        ("sample", sample.sample),
        ("patient", sample.patient),
        ("section", sample.section or sample.sample),
    ):
        codes = np.full(adata.n_obs, 0 if name is not None else -1)
        adata.obs[column] = pd.Categorical.from_codes(codes, [name] if name is not None else [])
    adata.layers["counts"] = adata.X
    adata.X = log1p_cp10k(adata.X)
    about |= {"units": UNITS, "genes_measured": adata.n_vars, "format": sample.format}
    found = _resolution(about, sample)
    for warning in found:
        _log.warning("%s: %s", sample.sample, warning)
    if said := [*about.get("warnings", ()), *found]:
        about["warnings"] = said
    adata.uns["hypergene"] = about
    return adata


def _resolution(about: dict[str, Any], sample: Sample) -> list[str]:
    """Complete the geometry in `about` from the sheet's mpp; say so where the two disagree."""
    warnings = []
    given = None if sample.mpp is None else [sample.mpp, sample.mpp]
    # A folder's metadata name a sample's mpp and stand in its data, too.
    if given is not None and given != (stated := about.get("mpp")):
        if stated is not None and _disagree(stated, given):
            warnings.append(
                f"{about.get('mpp_source', 'the data')} says {np.mean(stated):.3f} µm/px, but the "
                f"mpp given is {sample.mpp:g}; the one given is used."
            )
        about |= {"mpp": given, "mpp_source": "samples sheet"}
    pitch_px = about.get("pitch_px")
    if not pitch_px:
        return warnings
    mpp = float(np.mean(about["mpp"])) if "mpp" in about else None
    if "layout" not in about and mpp is not None and "spot_diameter_px" in about:
        about["layout"] = asdict(
            Layout(
                name="given",
                lattice="given",
                diameter_um=about["spot_diameter_px"] * mpp,
                pitch_um=pitch_px * mpp,
                shape="circle",
            )
        )
    elif "layout" in about:
        about["mpp_from_pitch"] = about["layout"]["pitch_um"] / pitch_px
        said = None
        if mpp is not None:
            stated_um = about["layout"]["pitch_um"]
            said = pitch_contradicts(pitch_px, stated_um, mpp, about["mpp_source"])
        warnings += [] if said is None else [said]
    return warnings


def _disagree(found: Sequence[float], given: Sequence[float]) -> bool:
    return abs(float(np.mean(found) / np.mean(given)) - 1) > TOLERANCE
