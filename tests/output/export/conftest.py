from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny.prediction import write_tiny_prediction

from hypergene.output import PredictionFile, open_prediction
from hypergene.output.export import Chosen


@pytest.fixture(scope="session")
def choose(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Chosen]:
    """Write a tiny prediction, each kind once, and choose all of its genes or those named."""
    written: dict[str, PredictionFile] = {}

    def make(*, wanted: tuple[str, ...] | None = None, spread: bool = True, **of: Any) -> Chosen:
        opened = written.get(repr(of))
        if opened is None:
            folder: Path = tmp_path_factory.mktemp("prediction")
            opened = written[repr(of)] = open_prediction(write_tiny_prediction(folder, **of))
        return Chosen(opened, opened.genes if wanted is None else wanted, spread)

    return make
