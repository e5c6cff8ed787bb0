"""State of a training run on disk, so that a killed run goes on where it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from hypergene.errors import OutputError

State = dict[str, Any]


def save_state(path: Path, state: State) -> None:
    """Write a state of tensors, numbers and text; it appears under its name only when whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"The checkpoint {path} cannot be written: {error}.", hint="Free some space."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def load_state(path: Path, run: str) -> State | None:
    """Read a state back, or None if there is none.

    Parameters
    ----------
    path
        The checkpoint.
    run
        What the run is (recipe, samples, seed, processes); a checkpoint of another run is refused.

    Raises
    ------
    OutputError
        The checkpoint is damaged, or of another run.
    """
    if not path.is_file():
        return None
    hint = "Give another --out, or --no-resume to start anew."
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damaged bytes make it meet
        raise OutputError(f"The checkpoint {path} is damaged.", hint=hint) from error
    if state.get("run") != run:
        raise OutputError(
            f"The checkpoint {path} belongs to a run with another recipe, seed, samples or number "
            "of processes.",
            hint=hint,
        )
    return state
