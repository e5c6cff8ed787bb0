"""What is written for others to open: AnnData, GeoJSON, and the images behind the spots.

Nothing appears under its final name before it is whole (:func:`atomic_path`).
"""

from hypergene.output.anndata_blocks import AnnDataBlocks, anndata_blocks
from hypergene.output.anndata_file import read_anndata, write_anndata
from hypergene.output.atomic import atomic_path, remove_leftovers
from hypergene.output.best_genes import best_held_out, highest
from hypergene.output.geojson import geojson_writer, write_geojson
from hypergene.output.prediction_file import PredictionFile, open_prediction
from hypergene.output.spatial import spatial_uns
from hypergene.output.stream import AnnDataStream, Matrix, stream_anndata

__all__ = [
    "AnnDataBlocks",
    "AnnDataStream",
    "Matrix",
    "PredictionFile",
    "anndata_blocks",
    "atomic_path",
    "best_held_out",
    "geojson_writer",
    "highest",
    "open_prediction",
    "read_anndata",
    "remove_leftovers",
    "spatial_uns",
    "stream_anndata",
    "write_anndata",
    "write_geojson",
]
