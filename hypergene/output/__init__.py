"""What is written for others to open: AnnData, GeoJSON, and the images behind the spots.

Nothing appears under its final name before it is whole (:func:`atomic_path`).
"""

from hypergene.output.anndata_file import read_anndata, write_anndata
from hypergene.output.atomic import atomic_path
from hypergene.output.geojson import write_geojson
from hypergene.output.spatial import spatial_uns
from hypergene.output.stream import AnnDataStream, Matrix, stream_anndata

__all__ = [
    "AnnDataStream",
    "Matrix",
    "atomic_path",
    "read_anndata",
    "spatial_uns",
    "stream_anndata",
    "write_anndata",
    "write_geojson",
]
