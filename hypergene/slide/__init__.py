"""Opening slides: resolution with its source, tissue mask and tiles in micrometres.

Nothing here imports torch, and nothing here knows about genes or spots' layouts.
"""

from __future__ import annotations

from hypergene.slide.reader import Level
from hypergene.slide.resolution import Mpp
from hypergene.slide.slide import Slide, open_slide
from hypergene.slide.tiles import read_tiles
from hypergene.slide.tissue import TissueMask, find_tissue, load_tissue, whole_slide

__all__ = [
    "Level",
    "Mpp",
    "Slide",
    "TissueMask",
    "find_tissue",
    "load_tissue",
    "open_slide",
    "read_tiles",
    "whole_slide",
]
