"""Low-rank adapters (LoRA) on a published encoder, and back to plain weights.

Hu et al. 2022: beside each chosen matrix W stands a product of two thin ones, W + (alpha / rank)
B A; W stays as it was published and only A and B learn. B starts at zero, so training starts from
the very encoder that was published. Afterwards the product is added to W: a model folder holds
plain weights, and no one who loads it needs peft.
"""

from __future__ import annotations

import importlib.util

from torch import nn

from hypergene.errors import ModelError, UsageError
from hypergene.model.encoder import TileEncoder
from hypergene.training.recipe import Lora

_MATRICES = ("attn.qkv", "attn.proj")


def check_lora() -> None:
    """Refuse to go on without peft.

    Raises
    ------
    UsageError
        It is not installed.
    """
    if importlib.util.find_spec("peft") is None:
        raise UsageError(
            "train.encoder = 'lora' needs the package peft, which is not installed.",
            hint="Install it with pip install 'hypergene[lora]'.",
        )


def add_lora(encoder: TileEncoder, settings: Lora) -> None:
    """Put adapters beside the attention matrices of the last blocks; only they will be trained.

    Parameters
    ----------
    encoder
        Changed in place; gives the same vectors as before until its adapters have learnt.
    settings
        Rank, strength and number of blocks.

    Raises
    ------
    UsageError
        peft is not installed.
    ModelError
        The network is not a stack of attention blocks.
    """
    check_lora()
    from peft import LoraConfig, inject_adapter_in_model

    network = encoder.network
    blocks = getattr(network, "blocks", None)
    chosen: list[str] = []
    if isinstance(blocks, nn.Sequential | nn.ModuleList):
        first = max(0, len(blocks) - settings.last_blocks)
        wanted = [f"blocks.{n}.{name}" for n in range(first, len(blocks)) for name in _MATRICES]
        have = {name for name, part in network.named_modules() if isinstance(part, nn.Linear)}
        chosen = [name for name in wanted if name in have]
    if not chosen:
        raise ModelError(
            f"The image encoder ({type(network).__name__}) has no attention blocks to adapt.",
            hint="Set train.encoder to train or frozen, or name a vision transformer.",
        )
    network.requires_grad_(False)
    inject_adapter_in_model(
        LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=chosen), network
    )


def merge_lora(encoder: TileEncoder) -> None:
    """Add what the adapters learnt to the weights, and remove them, in place.

    An encoder without adapters stays as it is.
    """
    parts = dict(encoder.network.named_modules())
    adapted = {name: part for name, part in parts.items() if hasattr(part, "get_base_layer")}
    for name, part in adapted.items():
        part.merge()
        parent, _, own = name.rpartition(".")
        setattr(parts[parent], own, part.get_base_layer())
    if adapted:
        del encoder.network.peft_config
        encoder.network.requires_grad_(True)
