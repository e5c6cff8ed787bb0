"""``python -m hypergene.zoo.convert FILE.bin FILE.safetensors``: a pickle's tensors, made safe.

Some publishers give weights as a pickle. A pickle can run code when it is opened; torch's reader
of weights alone refuses everything but tensors and plain containers. It is used here, once and on
purpose, and nowhere else on files from outside.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypergene.errors import HypergeneError, ModelError, UsageError, first_line

if TYPE_CHECKING:
    from torch import Tensor


def convert(pickle: Path, safetensors: Path) -> int:
    """Write the tensors of a pickled state dict as safetensors.

    Parameters
    ----------
    pickle
        What ``torch.save`` wrote of a state dict, or of a dict with one under ``model``,
        ``state_dict`` or ``teacher``.
    safetensors
        Where to; must not exist.

    Returns
    -------
    int
        Number of tensors.

    Raises
    ------
    UsageError
        The file to write exists.
    ModelError
        The pickle is missing, damaged, holds more than tensors, or cannot be written anew.
    """
    import torch
    from safetensors.torch import save_file

    if safetensors.exists():
        raise UsageError(f"{safetensors} exists already.", hint="Give another name.")
    try:
        held = torch.load(pickle, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"There is no file {pickle}.", hint="Check the path.") from error
    except Exception as error:  # torch raises whatever the bytes make it meet
        raise ModelError(
            f"{pickle} is damaged, or holds more than tensors and is not opened.",
            hint="Download it again, or ask its publisher for safetensors.",
        ) from error
    tensors = _tensors(held)
    if not tensors:
        raise ModelError(f"{pickle} holds no weights.", hint="Give a file of a state dict.")
    try:
        save_file(tensors, safetensors)
    except Exception as error:
        safetensors.unlink(missing_ok=True)
        raise ModelError(
            f"{safetensors} cannot be written: {first_line(error)}.",
            hint="Free some space, or choose another folder.",
        ) from error
    return len(tensors)


def _tensors(held: Any) -> dict[str, Tensor]:
    """Copy the tensors, for safetensors takes no views, and no two names for one tensor."""
    for key in ("model", "state_dict", "teacher"):
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    items = held.items() if isinstance(held, Mapping) else ()
    return {str(k): v.contiguous().clone() for k, v in items if hasattr(v, "contiguous")}


def main() -> int:
    """Run from the command line; return the exit code."""
    if len(sys.argv) != 3:
        print("usage: python -m hypergene.zoo.convert FILE.bin FILE.safetensors", file=sys.stderr)
        return 2
    try:
        count = convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except HypergeneError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{count:,} tensors in {sys.argv[2]}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
