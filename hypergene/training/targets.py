"""What is learnt: the module scores of every training spot. Test expression never comes here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypergene.training.expression import Expression
from hypergene.training.modules import ModuleFit, fit_modules


@dataclass(frozen=True, eq=False)
class Targets:
    """Training targets.

    Attributes
    ----------
    modules
        Gene modules of the training slides.
    scores
        One (n, modules) float32 a training slide, in their order.
    """

    modules: ModuleFit
    scores: list[NDArray[np.float32]]


def build_targets(
    slides: Sequence[Expression],
    modules: int,
    *,
    counts_only: Sequence[Expression] = (),
    seed: int = 0,
) -> Targets:
    """Fit gene modules and score the training slides by them, one slide in memory at a time.

    Parameters
    ----------
    slides
        Expression of the training slides.
    modules
        How many modules.
    counts_only
        Expression of more slides of the training cohort, of which there is no image.
    seed
        Of everything random.
    """
    fit = fit_modules([*slides, *counts_only], modules, seed=seed)
    return Targets(fit, [fit.scores(slide.log(), slide.measured) for slide in slides])
