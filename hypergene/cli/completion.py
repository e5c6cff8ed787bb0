"""Values that a shell offers when the tab key is pressed; nothing heavy is imported for them."""

from __future__ import annotations

from collections.abc import Iterable

LAYOUTS = (
    *("visium", "visium-6.5", "visium-11", "visium-hd-2", "visium-hd-8", "visium-hd-16"),
    *("st", "xenium", "grid"),
)


def layouts(incomplete: str) -> list[str]:
    """Return the layouts that begin with what is typed."""
    return _that_begin(LAYOUTS, incomplete)


def models(incomplete: str) -> list[str]:
    """Return the bundled models that begin with what is typed."""
    from hypergene.zoo.registry import bundled_models

    return _that_begin(bundled_models(), incomplete)


def presets(incomplete: str) -> list[str]:
    """Return the presets that begin with what is typed."""
    from importlib import resources

    files = resources.files("hypergene.training.recipes").iterdir()
    names = [file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")]
    return _that_begin(sorted(names), incomplete)


def _that_begin(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
