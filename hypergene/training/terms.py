"""The terms of the objective as a recipe sets them: kinds, weights and schedules."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from hypergene.model.config import Positive, Share, Strict


class Term(Strict):
    """A weight, and when in the course of training it holds.

    Progress runs from 0 to 1 over all steps of the recipe's epochs.
    """

    weight: float = Field(0.0, ge=0, description="0 switches the term off")
    start: Share = Field(0.0, description="progress at which the term sets in")
    rise: Share = Field(0.0, description="progress over which its weight then grows linearly")
    end: Share = Field(1.0, description="progress from which it is off again; 1 = never")

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> Term:
        if self.start >= self.end:
            raise ValueError("start must be below end")
        return self

    def at(self, progress: float) -> float:
        """Return the weight at a progress of 0..1."""
        if progress < self.start or (progress >= self.end and self.end < 1):
            return 0.0
        grown = (progress - self.start) / self.rise if self.rise else 1.0
        return self.weight * min(1.0, grown)


class Regression(Term):
    """The prediction loss, on standardised gene modules weighted by the variance they carry."""

    weight: float = Field(1.0, ge=0, description="0 switches the term off")
    kind: Literal["mse", "huber", "gaussian", "negative-binomial"] = Field(
        "mse", description="negative-binomial is on the counts of genes, the others on modules"
    )
    delta: Positive = Field(1.0, description="where huber turns linear, standard deviations")
    spread: float = Field(0.1, ge=0, description="weight of the likelihood that fits the spread")
    probe: bool = Field(False, description="it trains the head alone, nothing before it")


class Relative(Term):
    """Listwise loss on counts within a slide (STRank)."""

    genes: int = Field(256, ge=1, description="genes drawn at each step")


class Contrast(Strict):
    """What all contrasts share: what is near, and which spots are negatives."""

    similarity: Literal["distance", "cosine"] = Field(
        "distance", description="minus the distance in the shared space, or the cosine"
    )
    same_slide: bool = Field(True, description="negatives from the same slide only")
    apart_pitch: float = Field(2.0, ge=0, description="nearer pairs are no negatives, pitches")
    soft: Share = Field(
        0.0, description="share of the target given to spots of like expression; 0 = own pair only"
    )


class Hierarchical(Term):
    """Hierarchical contrastive alignment of spots and niches, HCA (HyperST)."""


class Pairs(Term):
    """Contrast of each branch by itself: the spot (query) and its neighbours (NH2ST)."""

    query: float = Field(1.0, ge=0, description="weight of image and genes of the spot")
    neighbour: float = Field(0.5, ge=0, description="weight of image and genes of its niche")


class Eta(Strict):
    """Factors on the half-aperture of the cones, one a term; below 1 is stricter."""

    spot: Positive = Field(0.7, description="image spot above gene spot")
    niche: Positive = Field(0.7, description="image niche above gene niche")
    image: Positive = Field(1.2, description="between the levels of the image")
    gene: Positive = Field(1.2, description="between the levels of the genes")


class Entailment(Term):
    """Hierarchical entailment alignment, HEA (HyperST); hyperbolic only."""

    level_parent: Literal["niche", "spot"] = "niche"
    eta: Eta = Eta()


class CrossEntailment(Term):
    """An image entails its expression (DELST); hyperbolic only."""

    parent: Literal["image", "gene"] = "image"
    eta: Positive = 0.7


class IntraEntailment(Term):
    """A sparse profile entails a rich one, on both sides (DELST); hyperbolic only."""

    levels: int = Field(4, ge=2, description="levels of richness within a slide")
    eta: Positive = 1.2


class Radius(Term):
    """The radius must not measure depth, nor tell slides apart."""


class Collapse(Term):
    """Every dimension keeps some spread within a slide (after VICReg)."""

    floor: Positive = Field(0.5, description="standard deviation below which it costs, see docs")


class Clusters(Term):
    """The image tells the soft cluster of its niche's expression (KL)."""

    number: int = Field(12, ge=2, description="clusters of the training niches")
    temperature: Positive = Field(1.0, description="softness of their targets")


class Losses(Strict):
    """The objectives and their weights; 0 switches one off."""

    guard: bool = Field(
        False, description="what opposes the regression is removed from the other terms' gradient"
    )
    regression: Regression = Regression()
    relative: Relative = Relative()
    contrast: Contrast = Contrast()
    hca: Hierarchical = Hierarchical()
    pairs: Pairs = Pairs()
    hea: Entailment = Entailment()
    cross: CrossEntailment = CrossEntailment()
    intra: IntraEntailment = IntraEntailment()
    radius: Radius = Radius()
    collapse: Collapse = Collapse()
    clusters: Clusters = Clusters()
