"""The configuration of a model that runs in milliseconds."""

from __future__ import annotations

from typing import Any

from hypergene.model.config import ModelConfig

TINY: dict[str, Any] = {
    "provenance": {"name": "tiny"},
    "encoder": {
        "name": "resnet10t",
        "arguments": {"channels": [8, 8, 16, 16], "stem_width": 8},
        "tile_um": (112.0,),
        "tile_px": 32,
    },
    "layout": {
        "name": "st",
        "lattice": "square",
        "shape": "circle",
        "diameter_um": 100.0,
        "pitch_um": 200.0,
    },
    "geometry": {"dim": 6},
    "head": {"modules": 4},
    "genes": tuple(f"G{number}" for number in range(12)),
}


def tiny_config(**sections: Any) -> ModelConfig:
    """The tiny configuration, with whole sections replaced."""
    return ModelConfig.model_validate(TINY | sections)
