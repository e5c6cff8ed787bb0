"""The plan of switches.py: which ways to train are compared with the default.

Weights are those a term would start with beside HCA at 0.05 and HEA at 0.02, not searched ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypergene.training.recipe import presets

# The squared error was the default's when docs/switches.md was made.
FROZEN = (
    "train.encoder=frozen",
    "train.views=4",
    "train.patience=100",
    "loss.regression.kind=mse",
)


@dataclass(frozen=True)
class Switch:
    """One way to train: a preset with a few values changed."""

    group: str
    name: str
    set: tuple[str, ...] = ()
    preset: str = "hypergene"


BASE = Switch("default", "hypergene")
POOLED = "loss.contrast.same_slide=false"
COSINE = "loss.contrast.similarity=cosine"
SOFT = "loss.contrast.soft=0.3"
NO_HCA, NO_HEA = "loss.hca.weight=0", "loss.hea.weight=0"
NO_RIDGE, POINTS = "readout.ridge=false", 'head.reads=["spot","niche","distances"]'
UNIT = "geometry.start=unit"
ANCHOR, GUARD = "readout.anchor=true", "loss.guard=true"

SWITCHES = (
    BASE,
    Switch("niche", "attention over neighbours", ("niche.reader=attention",)),
    Switch("niche", "hyperbolic attention", ("niche.reader=hyperbolic-attention",)),
    Switch("niche", "the second crop is the niche", ("niche.source=crop",)),
    Switch("niche", "one crop of 112 µm", ("encoder.tile_um=[112.0]",)),
    Switch("alignment", "no alignment", (NO_HCA, NO_HEA)),
    Switch("alignment", "no HCA", (NO_HCA,)),
    Switch("alignment", "no HEA", (NO_HEA,)),
    Switch("alignment", "HCA and HEA times 4", ("loss.hca.weight=0.2", "loss.hea.weight=0.08")),
    Switch("alignment", "HEA: spot above niche", ("loss.hea.level_parent=spot",)),
    Switch("alignment", "points start at radius 1", (UNIT,)),
    Switch("alignment", "the same, HCA and HEA times 4", (
        UNIT, "loss.hca.weight=0.2", "loss.hea.weight=0.08",
    )),
    Switch("alignment", "Euclidean twin (compare with no HEA)", ("geometry.kind=euclidean",)),
    Switch("alignment", "cosine for distance", (COSINE,)),
    Switch("alignment", "pooled negatives", (POOLED,)),
    Switch("alignment", "near spots are negatives", ("loss.contrast.apart_pitch=0",)),
    Switch("alignment", "soft targets 0.3", (SOFT,)),
    Switch("alignment", "pairs 0.05 for HCA", (NO_HCA, "loss.pairs.weight=0.05")),
    Switch("alignment", "+ cross 0.02", ("loss.cross.weight=0.02",)),
    Switch("alignment", "+ intra 0.02", ("loss.intra.weight=0.02",)),
    Switch("alignment", "+ radius 0.1", ("loss.radius.weight=0.1",)),
    Switch("alignment", "+ collapse 0.1", ("loss.collapse.weight=0.1",)),
    Switch("alignment", "+ clusters 0.1", ("loss.clusters.weight=0.1",)),
    Switch("alignment", "guard", (GUARD,)),
    Switch("regression", "Huber", ("loss.regression.kind=huber",)),
    Switch("regression", "Gaussian likelihood", ("loss.regression.kind=gaussian",)),
    Switch("regression", "negative binomial", ("loss.regression.kind=negative-binomial",)),
    Switch("regression", "+ relative 0.3", ("loss.relative.weight=0.3",)),
    Switch("regression", "+ relative 1", ("loss.relative.weight=1",)),
    Switch("regression", "+ relative 10", ("loss.relative.weight=10",)),
    Switch("regression", "+ relative 30", ("loss.relative.weight=30",)),
    Switch("readout", "no ridge", (NO_RIDGE,)),
    Switch("readout", "anchor", (ANCHOR,)),
    Switch("readout", "anchor, guard", (ANCHOR, GUARD)),
    Switch("readout", "anchor, no alignment", (ANCHOR, NO_HCA, NO_HEA)),
    Switch("readout", "Laplacian kernel", ("readout.kernel=laplacian",)),
    Switch("readout", "RBF kernel", ("readout.kernel=rbf",)),
    Switch("readout", "hyperbolic kernel", ("readout.kernel=hyperbolic",)),
    Switch("readout", "gallery of 256", ("readout.gallery=256",)),
    Switch("head", "reads features alone", ('head.reads=["features"]',)),
    Switch("head", "reads points alone", (POINTS,)),
    Switch("head", "reads points alone, no ridge", (POINTS, NO_RIDGE)),
    Switch("head", "reads points alone, no ridge, attention", (
        POINTS, NO_RIDGE, "niche.reader=attention",
    )),
    Switch("head", "hidden layer of 128", ("head.hidden=128",)),
    Switch("all", "anchor, guard, soft targets, relative 0.3", (
        ANCHOR, GUARD, SOFT, "loss.relative.weight=0.3",
    )),
    *(Switch("preset", name, preset=name) for name in presets() if name != BASE.preset),
)  # fmt: skip
