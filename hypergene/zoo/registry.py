"""From a model's name to its folder: bundled, a path, or a hub repository."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hypergene.errors import ModelError
from hypergene.zoo.hub import fetch_file

DEFAULT_MODEL = "her2st-small"
HUB_PREFIX = "hf-hub:"
MODEL_FILES = ("config.json", "model.safetensors", "README.md")


def find_model(name: str | Path) -> Path:
    """Return the folder of a model.

    Parameters
    ----------
    name
        A bundled model's name, the path of a model folder, or ``hf-hub:org/name`` with an optional
        ``@revision``. A hub repository is fetched once and then read from the local cache, also
        without a network.

    Raises
    ------
    ModelError
        No such model, or the hub cannot be reached and the model is not cached.
    """
    text = str(name)
    if text.startswith(HUB_PREFIX):
        return _from_hub(text.removeprefix(HUB_PREFIX))
    bundled = bundled_models().get(text)
    if bundled is not None:
        return bundled
    folder = Path(text)
    with suppress(OSError, RuntimeError, ValueError):  # a name that cannot be a path
        folder = folder.expanduser()
        if folder.is_dir():
            return folder
        if folder.exists():
            raise ModelError(
                f"{folder} is a file, not a model folder.",
                hint=f"Give the folder that holds {' and '.join(MODEL_FILES[:2])}.",
            )
    raise ModelError(
        f"There is no model {text!r}.",
        hint=f"Bundled: {', '.join(bundled_models()) or 'none'}. Otherwise give the path of a "
        "model folder, or hf-hub:org/name.",
    )


def bundled_models() -> dict[str, Path]:
    """Return the models that travel with the package, by name.

    An installed package has them inside (``hypergene/_models``), a source checkout at the top of
    the repository (``models``).
    """
    package = Path(__file__).resolve().parents[1]
    for place in (package / "_models", package.parent / "models"):
        found = {path.parent.name: path.parent for path in sorted(place.glob("*/config.json"))}
        if found:
            return found
    return {}


def _from_hub(address: str) -> Path:
    repository, _, revision = address.partition("@")
    config, weights, card = MODEL_FILES
    folder = fetch_file(repository, revision or None, config, what="model").parent
    # All files of the commit that the first one is of, whatever is pushed meanwhile.
    fetch_file(repository, folder.name, weights, what="model")
    with suppress(ModelError):  # a model is read without its card
        fetch_file(repository, folder.name, card, what="model")
    return folder
