"""Spots: layouts of the platforms, the table of spots, neighbours. Pure numpy and scipy.

>>> layout = layout_named("visium")
>>> spots = lay_spots(layout, dimensions_px=(4000, 4000), mpp=(0.5, 0.5))
>>> near, far = rings(spots.xy_um, spots.xy_um, [0, 125, 225])
"""

from hypergene.spots.lattice import LaidLattice, lattice_on, lay_spots, no_whole_spot
from hypergene.spots.layout import Layout, layout_named
from hypergene.spots.nearest import Nearest, nearest
from hypergene.spots.rings import rings
from hypergene.spots.table import Spots

__all__ = [
    "LaidLattice",
    "Layout",
    "Nearest",
    "Spots",
    "lattice_on",
    "lay_spots",
    "layout_named",
    "nearest",
    "no_whole_spot",
    "rings",
]
