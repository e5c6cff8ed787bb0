"""A prediction in the forms that other tools open."""

from hypergene.output.export.chosen import Chosen, best_predicted
from hypergene.output.export.ome_tiff import write_ome_tiff
from hypergene.output.export.qupath import write_qupath
from hypergene.output.export.spatialdata_zarr import Pixels, write_spatialdata
from hypergene.output.export.tables import write_csv, write_parquet
from hypergene.output.export.vitessce import write_vitessce

__all__ = [
    "Chosen",
    "Pixels",
    "best_predicted",
    "write_csv",
    "write_ome_tiff",
    "write_parquet",
    "write_qupath",
    "write_spatialdata",
    "write_vitessce",
]
