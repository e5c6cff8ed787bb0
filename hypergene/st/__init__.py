"""Local spatial transcriptomics data, in whatever layout, as one canonical AnnData.

The formats are rows of :data:`hypergene.st.formats.FORMATS`; what comes out of
:func:`read_sample` is the same for all of them.
"""

from __future__ import annotations

from hypergene.st.centres import SpotCentres
from hypergene.st.coordinates import check_inside, check_pitch, read_coords
from hypergene.st.gene_lists import read_aliases, read_panel
from hypergene.st.gene_space import GeneSpace
from hypergene.st.genes import unique_symbols
from hypergene.st.held import centres_of_anndata, centres_of_shapes, outlines_of_shapes
from hypergene.st.image import open_image
from hypergene.st.normalise import UNITS, log1p_cp10k
from hypergene.st.read import read_sample
from hypergene.st.sample import Sample
from hypergene.st.sheet import read_samples, single_sample

__all__ = [
    "UNITS",
    "GeneSpace",
    "Sample",
    "SpotCentres",
    "centres_of_anndata",
    "centres_of_shapes",
    "check_inside",
    "check_pitch",
    "log1p_cp10k",
    "open_image",
    "outlines_of_shapes",
    "read_aliases",
    "read_coords",
    "read_panel",
    "read_sample",
    "read_samples",
    "single_sample",
    "unique_symbols",
]
