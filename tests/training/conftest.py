"""Sections small enough to train on in a test, without a slide."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from tiny.sections import in_memory, tiny_config, tiny_section

from hypergene.model.config import ModelConfig
from hypergene.training.expression import Expression
from hypergene.training.section import Section


@pytest.fixture
def config() -> ModelConfig:
    return tiny_config()


@pytest.fixture(scope="session")
def as_expression() -> Callable[..., Expression]:
    """Expression of all genes, or of some (columns, -1 = not measured), from a dense table."""
    return in_memory


@pytest.fixture
def make_section(config: ModelConfig) -> Callable[..., Section]:
    """A square of spots whose redness is their expression, under a slide-wide offset."""
    return partial(tiny_section, config)
