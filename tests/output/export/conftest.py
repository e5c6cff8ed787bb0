from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny.prediction import write_tiny_prediction

from hypergene.output import open_prediction
from hypergene.output.export import Chosen


@pytest.fixture
def choose(tmp_path: Path) -> Callable[..., Chosen]:
    """Write a tiny prediction and choose all of its genes, or those that are named."""

    def make(*, wanted: tuple[str, ...] | None = None, spread: bool = True, **of: Any) -> Chosen:
        opened = open_prediction(write_tiny_prediction(tmp_path, **of))
        return Chosen(opened, opened.genes if wanted is None else wanted, spread)

    return make
