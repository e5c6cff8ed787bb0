"""The formats of local data that can be read; a new one is a module and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anndata import AnnData

from hypergene.errors import DataError
from hypergene.st.formats import (
    h5ad,
    her2st,
    hest,
    spaceranger,
    spatialdata_zarr,
    tables,
    visium_hd,
    xenium,
)
from hypergene.st.sample import Sample


@dataclass(frozen=True)
class Format:
    """One way in which a section is stored.

    Attributes
    ----------
    name
        What the sheet's column ``format`` says.
    recognises
        Tells from the path (its name, or the names in it) whether data are in this format.
    read
        The sample as an AnnData with integer counts in ``X``, ``obs`` (in_tissue, array_row,
        array_col), canonical ``var``, ``obsm["spatial"]`` and ``uns["hypergene"]``;
        :func:`hypergene.st.read.read_sample` makes the rest.
    pools
        Whether spots are squares of a wanted side, the sheet's ``spot_um``.
    """

    name: str
    recognises: Callable[[Path], bool]
    read: Callable[[Sample], AnnData]
    pools: bool = False


def _plain(
    read: Callable[[Path, Path | None], AnnData],
) -> Callable[[Sample], AnnData]:
    return lambda sample: read(sample.data, sample.spots)


def _pooled(
    read: Callable[[Path, Path | None, float | None], AnnData],
) -> Callable[[Sample], AnnData]:
    return lambda sample: read(sample.data, sample.spots, sample.spot_um)


def _spatialdata(sample: Sample) -> AnnData:
    return spatialdata_zarr.read(sample.data, sample.spots, sample.slide)


FORMATS = {
    known.name: known
    for known in (  # the first that recognises a path takes it
        Format("xenium", xenium.recognises, _pooled(xenium.read), pools=True),
        Format("visium-hd", visium_hd.recognises, _pooled(visium_hd.read), pools=True),
        Format("spaceranger", spaceranger.recognises, _plain(spaceranger.read)),
        Format("hest", hest.recognises, _plain(hest.read)),
        Format("h5ad", h5ad.recognises, _plain(h5ad.read)),
        Format("spatialdata", spatialdata_zarr.recognises, _spatialdata),
        Format("zarr", h5ad.recognises_zarr, _plain(h5ad.read)),
        Format("her2st", her2st.recognises, _plain(her2st.read)),
        Format("tables", tables.recognises, _plain(tables.read)),
    )
}


def format_named(name: str) -> Format:
    """Return a format by name.

    Raises
    ------
    DataError
        Unknown name; the known ones are listed.
    """
    try:
        return FORMATS[name]
    except KeyError:
        raise DataError(
            f"There is no data format {name!r}.", hint=f"Known are {', '.join(FORMATS)}."
        ) from None


def format_of(data: Path) -> str:
    """Find the format of data from their path.

    Raises
    ------
    DataError
        No known format looks like this; the known ones are listed.
    """
    for known in FORMATS.values():
        if known.recognises(data):
            return known.name
    raise DataError(
        f"The format of {data} is not known from its name.",
        hint=f"Say it in the samples sheet's column 'format': {', '.join(FORMATS)}.",
    )
