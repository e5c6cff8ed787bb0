"""AnnData as squidpy, scanpy and hypergene write it, ``.h5ad`` or ``.zarr``, with raw counts.

``scanpy.read_h5ad`` reads such a file, too, but whole: every layer, graph and image; and it says
nothing of where counts are, of what the spots' lattice is, or of what is wrong.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData
from scipy import sparse

from hypergene.errors import DataError, NotCountsError
from hypergene.st.formats.anndata_genes import Genes, read_genes
from hypergene.st.formats.anndata_space import place_of_array, positions_px, read_space
from hypergene.st.formats.anndata_store import Stored, open_stored, zarr_kind
from hypergene.st.normalise import check_counts

_log = logging.getLogger(__name__)

# Layers that are tried if neither layers["counts"], raw nor X holds counts; without capitals.
_OTHER_LAYERS = (
    *("raw_counts", "counts_raw", "rawcounts", "raw_count", "raw", "count", "counts"),
    *("umi_counts", "umis", "umi"),
)


def recognises(data: Path) -> bool:
    """Tell whether a file is named like an AnnData file."""
    return data.suffix.lower() == ".h5ad"


def recognises_zarr(data: Path) -> bool:
    """Tell whether a folder is a Zarr store that holds an AnnData (and no SpatialData)."""
    return zarr_kind(data) == "anndata"


def read(data: Path, spots: Path | None = None) -> AnnData:
    """Read one section.

    Counts are the first of ``layers["counts"]``, ``raw``, ``X`` and layers of other usual names
    (``raw_counts`` ...) that holds whole numbers; a ``layers["counts"]`` that does not is an error,
    as its name promises them.

    Parameters
    ----------
    data
        The .h5ad file, or the Zarr store.
    spots
        Has no meaning here: positions are in the file.

    Returns
    -------
    AnnData
        ``X``: int32 CSR counts; ``obs``: in_tissue, array_row, array_col (-1 where the file places
        no spot on a lattice); ``obsm["spatial"]``: (x, y) level-0 px; ``uns["hypergene"]``:
        counts_from, genes_from, dropped, pitch_px, and where the file tells them layout, platform,
        spot_diameter_px, mpp, mpp_source, hires_scale, lowres_scale, library, features_left_out,
        warnings.

    Raises
    ------
    DataError
        If the file is no AnnData, holds a prediction, several sections, no whole numbers or no
        positions, or if `spots` is given.
    """
    refuse_spots(data, spots)
    if zarr_kind(data) == "spatialdata":
        raise DataError(
            f"{data} is a SpatialData store and no AnnData.",
            hint="Write spatialdata into the column 'format' of the samples sheet.",
        )
    with open_stored(data) as stored:
        refuse_predictions(stored)
        xy_px, said = positions_px(stored)
        adata = assemble(stored, xy_px)
    if said:
        adata.uns["hypergene"].setdefault("warnings", []).insert(0, said)
        _log.warning("%s", said)
    return adata


def refuse_spots(data: Path, spots: Path | None) -> None:
    """Raise a DataError if positions are given for a format that holds its own."""
    if spots is not None:
        raise DataError(
            f"{data} has its positions inside, but {spots} was given too.",
            hint="Leave the column 'spots' empty for this format.",
        )


def refuse_predictions(stored: Stored) -> None:
    """Raise a DataError if the values are what a model of hypergene predicted."""
    if stored.has("uns/hypergene/model"):
        raise DataError(
            f"{stored.name} holds expression that hypergene predicted, and nothing measured.",
            hint="Give the measured data of this slide.",
        )


def assemble(stored: Stored, xy_px: npt.NDArray[np.float64]) -> AnnData:
    """Build what a reader returns from an open AnnData and the positions of its spots.

    Parameters
    ----------
    stored
        The file.
    xy_px
        float64 (spots of the file, 2): (x, y) level-0 px; NaN for spots without a position, which
        are left out and counted.

    Returns
    -------
    AnnData
        As :func:`read`.

    Raises
    ------
    DataError
        As :func:`read`.
    """
    names = _spot_names(stored)
    counts, genes, place = _find_counts(stored)
    placed = ~np.isnan(xy_px).any(axis=1)
    obs = pd.DataFrame(
        {
            "in_tissue": in_tissue_of(stored),
            "array_row": place_of_array(stored, "array_row"),
            "array_col": place_of_array(stored, "array_col"),
        },
        index=names,
    )[placed]
    about: dict[str, Any] = {
        "counts_from": place,
        "genes_from": genes.names_from,
        "dropped": {"counts_without_position": int((~placed).sum())},
        **({"features_left_out": genes.left_out} if genes.left_out else {}),
        **read_space(stored, obs, xy_px[placed]),
    }
    _log.info("%s: counts are %s, genes are named by %s", stored.name, place, genes.names_from)
    return AnnData(
        X=counts[placed],
        obs=obs,
        var=genes.var,
        obsm={"spatial": xy_px[placed]},
        uns={"hypergene": about},
    )


def _spot_names(stored: Stored) -> pd.Index:
    if not stored.length("obs"):
        raise DataError(f"{stored.name} has no spots.", hint="Is this the right file?")
    names = stored.names("obs")
    if not names.is_unique:
        twice = names[names.duplicated()]
        raise DataError(
            f"{stored.name} has {twice.nunique()} spot names more than once "
            f"(such as {twice[0]!r}).",
            hint="Give one section a file.",
        )
    return names


def _find_counts(stored: Stored) -> tuple[sparse.csr_matrix, Genes, str]:
    """Return counts, genes and the place they were found."""
    layers = stored.keys("layers")
    if "counts" in layers:
        place = 'layers["counts"]'
        counts = _counts_at(stored, "layers/counts", "var", place)
        if isinstance(counts, DataError):
            raise counts
        return *counts, place
    places = [("raw/X", "raw/var", "raw"), ("X", "var", "X")]
    known = sorted(
        (name for name in layers if name.lower() in _OTHER_LAYERS),
        key=lambda name: _OTHER_LAYERS.index(name.lower()),
    )
    places += [(f"layers/{name}", "var", f'layers["{name}"]') for name in known]
    reasons: list[DataError] = []
    for key, frame, place in places:
        if not stored.has(key):
            continue
        counts = _counts_at(stored, key, frame, place)
        if not isinstance(counts, DataError):
            return *counts, place
        reasons.append(counts)
    said = " ".join(reason.message for reason in reasons)
    kind = NotCountsError if any(isinstance(r, NotCountsError) for r in reasons) else DataError
    raise kind(
        f"{stored.name} has no raw counts: {said or 'it has no layers, raw or X of counts.'}",
        hint='Put raw counts in layers["counts"].',
    )


def _counts_at(
    stored: Stored, key: str, frame: str, place: str
) -> tuple[sparse.csr_matrix, Genes] | DataError:
    """Return counts and genes, or what the values are instead."""
    shape = (stored.length("obs"), stored.length(frame))
    checked, by_rows = [], True
    for block in stored.blocks(key, shape):
        by_rows = block.format == "csr"
        try:
            checked.append(check_counts(block, f"{place} of {stored.name}"))
        except DataError as reason:
            return reason
    if not checked:
        raise DataError(f"{frame} of {stored.name} has no genes.", hint="Is this the right file?")
    join = sparse.vstack if by_rows else sparse.hstack
    genes = read_genes(stored, frame)
    counts = join(checked, format="csr")
    return (counts if genes.kept.all() else counts[:, genes.kept]), genes


def in_tissue_of(stored: Stored) -> npt.NDArray[np.int8]:
    """Return ``obs["in_tissue"]``, 1 for all where there is none.

    Raises
    ------
    DataError
        It holds values other than 0 and 1.
    """
    if "in_tissue" not in stored.columns("obs"):
        return np.ones(stored.length("obs"), dtype=np.int8)
    return tissue_flags(stored.column("obs", "in_tissue"), stored.name)


def tissue_flags(column: pd.Series, origin: str) -> npt.NDArray[np.int8]:
    """Return a column ``in_tissue`` as 1 and 0, whether it holds numbers, booleans or texts.

    Raises
    ------
    DataError
        It holds values other than 0 and 1; `origin` is named.
    """
    words = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0}
    flags = column.astype(str).str.lower().map(words)
    if flags.isna().any():
        raise DataError(
            f"in_tissue of {origin} holds values other than 0 and 1.",
            hint="Write 1 for spots on the tissue and 0 for the others.",
        )
    return flags.to_numpy(dtype=np.int8)
