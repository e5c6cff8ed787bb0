"""Names of models, and the folders behind them."""

from hypergene.zoo.encoders import (
    FoundEncoder,
    KnownEncoder,
    encoder_table,
    find_encoder,
    known_encoders,
)
from hypergene.zoo.folder import load_model, read_config, weights_sha256, write_model
from hypergene.zoo.registry import DEFAULT_MODEL, bundled_models, find_model
from hypergene.zoo.verify import verify_model

__all__ = [
    "DEFAULT_MODEL",
    "FoundEncoder",
    "KnownEncoder",
    "bundled_models",
    "encoder_table",
    "find_encoder",
    "find_model",
    "known_encoders",
    "load_model",
    "read_config",
    "verify_model",
    "weights_sha256",
    "write_model",
]
