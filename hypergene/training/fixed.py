"""Weights that training leaves alone: a foundation encoder has gigabytes of them.

They are neither averaged nor written into checkpoints; a run that goes on takes them from where it
took them at first.
"""

from __future__ import annotations

from collections.abc import Container

from torch import Tensor

from hypergene.model.network import HyperGene


def fixed_names(model: HyperGene, *, frozen: bool) -> frozenset[str]:
    """Return the names, in the model's state dict, of what no step changes.

    Parameters
    ----------
    model
        With ``requires_grad`` as training will have it.
    frozen
        Whether the encoder is not even run in training, so that its buffers stay, too.
    """
    encoder = model.encoder
    names = [name for name, weights in encoder.named_parameters() if not weights.requires_grad]
    if frozen:
        names += [name for name, _ in encoder.named_buffers()]
    return frozenset(f"encoder.{name}" for name in names)


def changing(model: HyperGene, fixed: Container[str]) -> dict[str, Tensor]:
    """Return the part of the model's state dict that training changes."""
    return {name: value for name, value in model.state_dict().items() if name not in fixed}


def load_changing(model: HyperGene, state: dict[str, Tensor], fixed: Container[str]) -> None:
    """Put back what :func:`changing` gave; a name too many or too few is an error."""
    missing = changing(model, fixed).keys() ^ state.keys()
    if missing:
        raise KeyError(f"not the state of this model: {sorted(missing)[:3]}")
    model.load_state_dict(state, strict=False)
