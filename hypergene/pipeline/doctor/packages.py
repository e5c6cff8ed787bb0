"""Packages: timm, which every model needs, and the extras, which some commands need."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec

from hypergene.pipeline.doctor.finding import Finding

EXTRAS = {
    "spatialdata": "reads and writes SpatialData",
    "ray": "predicts on a Ray cluster (--engine ray)",
    "peft": "finetunes large encoders by LoRA (extra 'lora')",
    "tensorboard": "draws the course of a training",
}
_EXTRA_OF = {"peft": "lora"}
REQUIRED = ("anndata", "geoopt", "huggingface_hub", "safetensors", "timm", "zarr")


def check_packages() -> Iterator[Finding]:
    """Say which packages are there, and how to get those that are not."""
    versions = {name: version_of(name) for name in REQUIRED}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        yield Finding(
            *("packages", "required", "fail", f"Missing: {', '.join(missing)}."),
            fix="Install hypergene again: pip install --force-reinstall hypergene.",
            facts=versions,
        )
    else:
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield Finding("packages", "required", "pass", f"{told}.", facts=versions)
    for name, use in EXTRAS.items():
        version = version_of(name)
        facts = {"version": version}
        if version is not None:
            told = f"{name} {version} {use}."
        else:
            extra = _EXTRA_OF.get(name, name)
            told = f"{name} is not there, which {use}: pip install 'hypergene[{extra}]'."
        yield Finding("packages", name, "pass", told, facts=facts)


def version_of(name: str) -> str | None:
    """Return the version of a package that can be imported; None if there is none."""
    if find_spec(name) is None:
        return None
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # on the path, not installed
        return "of unknown version"
