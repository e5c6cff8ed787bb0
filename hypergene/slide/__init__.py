"""Opening slides: resolution with its source, tissue mask, quality and tiles in micrometres.

Nothing here imports torch, and nothing here knows about genes or spots' layouts.
"""

from __future__ import annotations

from hypergene.slide.held import holder_of, image_name, open_slide
from hypergene.slide.polygons import TissueOutlines
from hypergene.slide.quality import SpotQuality, measure_quality
from hypergene.slide.reader import Level
from hypergene.slide.resolution import Mpp
from hypergene.slide.slide import Slide
from hypergene.slide.tiles import read_tiles
from hypergene.slide.tissue import TissueMask, find_tissue, whole_slide
from hypergene.slide.tissue_file import draw_tissue, load_tissue
from hypergene.slide.tissue_plugin import plugin_tissue, tissue_plugins

__all__ = [
    "Level",
    "Mpp",
    "Slide",
    "SpotQuality",
    "TissueMask",
    "TissueOutlines",
    "draw_tissue",
    "find_tissue",
    "holder_of",
    "image_name",
    "load_tissue",
    "measure_quality",
    "open_slide",
    "plugin_tissue",
    "read_tiles",
    "tissue_plugins",
    "whole_slide",
]
