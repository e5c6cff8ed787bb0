"""The arms of the claim: every one a recipe, each a step from another.

All start from the preset `clip` on the same cached features of one frozen encoder, and take the
same number of steps of the same size. Weights are the published ones (HyperST: 0.2 for the
contrast, 0.4 of that for entailment) or 1; nothing was searched.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypergene.training.recipe import Recipe, load_recipe

SHARED = (
    "train.encoder=frozen",
    "train.views=4",
    "encoder.tile_um=[112.0, 300.0]",
    "geometry.dim=64",
    "geometry.start=unit",
    "genes.most=1000",
    "train.lr=0.003",
)
"""What all arms add to the preset `clip`; its batches are of 4 slides x 16 spots."""


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes
    ----------
    name, says
        For tables.
    more
        Values of the recipe over those of `SHARED`.
    centred
        Features and targets lose the mean of their slide (everywhere in hypergene); False = that of
        the training cohort, as HESCAPE had it.
    shuffled
        The contrast sees images and genes of one slide paired at random, anew at each step.
    random_slides
        The mask of negatives sees slide labels that are shuffled over the batch.
    twice
        Twice as many steps.
    also
        Name of what the same training gives besides: a ridge on the embedding, or the anchor alone.
    """

    name: str
    says: str
    more: tuple[str, ...] = ()
    centred: bool = True
    shuffled: bool = False
    random_slides: bool = False
    twice: bool = False
    also: str = ""

    def recipe(self, epochs: int, spots_per_slide: int) -> Recipe:
        """Return the recipe of this arm."""
        size = (f"train.epochs={epochs}", f"train.spots_per_slide={spots_per_slide}")
        looks = (f"train.assess_every={epochs}",)
        return load_recipe(None, [*SHARED, *size, *looks, *self.more], "clip")


_C0 = ("loss.regression.probe=true", "loss.pairs.weight=1")
_C1 = ("loss.regression.probe=false", "loss.pairs.weight=0.2", "loss.relative.weight=1")
_C2 = (*_C1, "loss.contrast.same_slide=true", "loss.contrast.apart_pitch=2")
_C3 = (*_C2, "loss.contrast.soft=0.3")
_ANCHOR = ("readout.ridge=true", "readout.anchor=true", "loss.guard=true")
_C4 = (*_C3, *_ANCHOR, "loss.contrast.similarity=distance")
_H1 = (*_C4, "geometry.kind=lorentz")
_H2 = (*_H1, "loss.hea.weight=0.08")
_B3 = (*_C4, "loss.pairs.weight=0")

ANCHOR_ALONE, RIDGE_PROBE = "W0", "C0 + ridge"

TRAINED = (
    Arm("C0", "pooled CLIP, then a probe (HESCAPE)", _C0, centred=False, also=RIDGE_PROBE),
    Arm("C1", "C0 trained jointly with regression", _C1, centred=False),
    Arm("C2", "C1 + negatives of the same slide", _C2, centred=False),
    Arm("C3", "C2 + soft targets", _C3, centred=False),
    Arm("B3", "slide-centred ridge + rings + relative loss", _B3, also=ANCHOR_ALONE),
    Arm("C4", "C3 + anchor and guard (Euclidean)", _C4),
    Arm("H1", "C4 in Lorentz", _H1),
    Arm("H2", "H1 + entailment", _H2),
    Arm("C0 shuffled", "C0, pairs shuffled within the slide", _C0, centred=False, shuffled=True),
    Arm("C0 centred", "C0 on slide-centred features and targets", _C0),
    Arm("H2 random", "H2, slide labels of the mask at random", _H2, random_slides=True),
    Arm("B3 twice", "B3 with twice the steps", _B3, twice=True),
)
CLOSED = {
    "B1": "ridge, raw features",
    "B1c": "ridge, slide-centred",
    "B2": "ridge + rings, slide-centred",
}
SAYS = {
    **CLOSED,
    ANCHOR_ALONE: "the anchor alone: hypergene's ridge + rings on gene modules",
    RIDGE_PROBE: "C0 with a ridge on its embedding for a probe",
    **{arm.name: arm.says for arm in TRAINED},
}
