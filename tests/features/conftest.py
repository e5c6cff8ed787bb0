"""A tiny model, a slide and spots on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hypergene.model.config import ModelConfig
from hypergene.model.encoder import TileEncoder
from hypergene.slide import Slide, open_slide


@pytest.fixture
def make_config() -> Callable[..., ModelConfig]:
    """The configuration of a tiny model with two crops, with whole sections replaced."""

    def make(**sections: Any) -> ModelConfig:
        tiny: dict[str, Any] = {
            "provenance": {"name": "tiny"},
            "encoder": {
                "name": "resnet10t",
                "arguments": {"channels": [8, 8, 16, 16], "stem_width": 8},
                "tile_um": [60.0, 150.0],
                "tile_px": 32,
            },
            "layout": {
                "name": "grid",
                "lattice": "square",
                "shape": "square",
                "diameter_um": 50.0,
                "pitch_um": 100.0,
            },
            "geometry": {"dim": 4},
            "head": {"modules": 3},
            "genes": ["A", "B"],
        }
        return ModelConfig.model_validate(tiny | sections)

    return make


@pytest.fixture
def encoder(make_config: Callable[..., ModelConfig]) -> TileEncoder:
    torch.manual_seed(0)
    return TileEncoder(make_config().encoder).eval()


@pytest.fixture
def slide(painted_slide: Path) -> Iterator[Slide]:
    """1,200 × 1,200 px at 1 µm/px."""
    with open_slide(painted_slide) as opened:
        yield opened


@pytest.fixture
def xy_px() -> NDArray[np.float64]:
    """(23, 2) places on the slide, in no order; some tiles reach over the slide's edge."""
    return np.random.default_rng(0).uniform(10, 1190, (23, 2))
