"""What `hypergene pretrain` gives an encoder before any expression is seen.

    python tests/benchmarks/pretrain.py ../shared/data/her2st --cache runs/cache \
        --encoder "ssl/no-{section}/encoder.safetensors"

A closed-form ridge on frozen features and their ring means (readout `ridge` of the default recipe,
head unused), validated on B4 (trained on C4, C5, C6: another patient) and on C4 (B4, C5, C6). C3 is
never opened. `{section}` in the encoder's path is the validation section, which the encoder must
not have seen. Beside it the same network untrained, with three seeds: as it is, and with the
statistics of its norms taken from the training sections' tiles, which is all that training does to
a network whose weights do not move.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from switches import CPU, FOLDS, MPP, Fold, read_fold
from torch import nn

from hypergene.model.encoder import TileEncoder
from hypergene.model.network import HyperGene
from hypergene.model.readout import Blend
from hypergene.pipeline.configure import configure
from hypergene.slide import open_slide
from hypergene.training.assess import encode_sections, fit_readouts, validate
from hypergene.training.pretrain_tiles import DenseGrid, dense_tiles
from hypergene.training.recipe import load_recipe
from hypergene.training.section import FrozenEncoder, prepare_section
from hypergene.training.targets import build_targets
from hypergene.training.trainer import set_modules
from hypergene.zoo import find_encoder

SETS = ("expressed", "HVG-50", "HVG-250")


def ridge_alone(encoder: TileEncoder, fold: Fold) -> list[float]:
    """Mean Pearson by gene set on the fold's validation section."""
    recipe = load_recipe(None, ("train.encoder=frozen",))
    config = configure(
        fold.split,
        fold.split.train,
        fold.data,
        fold.genes,
        recipe,
        find_encoder(recipe.encoder).config,
        "ssl",
    )
    frozen = FrozenEncoder(encoder.eval().requires_grad_(False), CPU)
    sections = {
        name: prepare_section(
            measured,
            fold.genes.columns[name],
            config,
            fold.cache,
            frozen=frozen,
            mpp=MPP,
            workers=1,
        )
        for name, measured in fold.data.items()
    }
    validation = sections.pop(fold.validation)
    train = list(sections.values())
    targets = build_targets(
        [one.expression for one in train], config.head.modules, recipe.targets, fold.cache
    )
    model = HyperGene(config)
    model.encoder = frozen.encoder
    set_modules(model, targets.modules)
    fit_readouts(model, encode_sections(model, train, CPU), targets.scores, CPU, only_ridge=True)
    watched = encode_sections(model, [validation], CPU)
    found = validate(model, watched, config.genes, fold.sets, CPU)[Blend(ridge=1.0)]
    return [found[name] for name in SETS]


@torch.no_grad()
def with_norms(encoder: TileEncoder, fold: Fold, tile_px: int) -> TileEncoder:
    """Set the norms' statistics to those of the training sections' tiles."""
    config = find_encoder(load_recipe().encoder).config
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
    encoder.train()
    for sample in fold.split.train:
        assert sample.slide is not None
        with open_slide(sample.slide, mpp=MPP) as slide:
            tiles = dense_tiles(slide, config, DenseGrid(), fold.cache, workers=1)
        margin = (tiles.shape[2] - tile_px) // 2
        inner = slice(margin, margin + tile_px)
        for rows in np.array_split(np.arange(0, len(tiles), 8), 4):
            pixels = torch.from_numpy(np.array(tiles[rows][:, :, inner, inner]))
            encoder(pixels.permute(0, 1, 4, 2, 3))
    return encoder


def untrained(seed: int) -> TileEncoder:
    """Return the default recipe's encoder with random weights."""
    torch.manual_seed(seed)
    return find_encoder(load_recipe().encoder).load()


def main() -> None:
    """Parse, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the HER2ST folder")
    parser.add_argument("--encoder", required=True, nargs="+", help="files; {section} is filled in")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    print("| validation | encoder | " + " | ".join(SETS) + " |")
    print("|---" * (2 + len(SETS)) + "|")
    for section in FOLDS:
        fold = read_fold(arguments.data, arguments.cache, section)
        tile_px = find_encoder(load_recipe().encoder).config.tile_px
        plain = [ridge_alone(untrained(seed), fold) for seed in arguments.seeds]
        normed = [
            ridge_alone(with_norms(untrained(seed), fold, tile_px), fold)
            for seed in arguments.seeds
        ]
        _print(section, "untrained", plain)
        _print(section, "untrained, norms set", normed)
        for given in arguments.encoder:
            path = given.format(section=section)
            recipe = load_recipe(None, (f"encoder.weights={path}",))
            _print(section, path, [ridge_alone(find_encoder(recipe.encoder).load(), fold)])


def _print(section: str, name: str, rows: list[list[float]]) -> None:
    means, spreads = np.mean(rows, 0), np.std(rows, 0, ddof=1) if len(rows) > 1 else None
    cells = [f"{mean:.3f}" for mean in means]
    if spreads is not None:
        cells = [f"{cell} ± {sd:.3f}" for cell, sd in zip(cells, spreads, strict=True)]
    print(f"| {section} | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
