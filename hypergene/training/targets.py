"""What is learnt: the module scores of every training spot. Test expression never comes here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache as cache_once
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hypergene.features.cache import ArrayCache
from hypergene.training.denoise import DENOISE_VERSION, Denoiser, fit_denoiser
from hypergene.training.expression import Expression
from hypergene.training.modules import ModuleFit, Read, fit_modules
from hypergene.training.recipe import TargetChoice


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
    choice: TargetChoice,
    cache: ArrayCache,
    *,
    counts_only: Sequence[Expression] = (),
    seed: int = 0,
) -> Targets:
    """Fit gene modules and score the training slides by them, one slide in memory at a time.

    Parameters
    ----------
    slides
        Expression of the training slides: never of one that is tested, or chosen by.
    modules
        How many modules.
    choice
        The recipe's ``[targets]``.
    cache
        Where denoised tables are kept.
    counts_only
        Expression of more slides of the training cohort, of which there is no image.
    seed
        Of everything random.
    """
    cohort = [*slides, *counts_only]
    read = _reader(cohort, choice, cache, seed)
    fit = fit_modules(cohort, modules, read=read, seed=seed)
    tables = map(read or Expression.log, slides)
    scores = [
        fit.scores(table, slide.measured) for table, slide in zip(tables, slides, strict=True)
    ]
    return Targets(fit, scores)


def _reader(
    cohort: Sequence[Expression], choice: TargetChoice, cache: ArrayCache, seed: int
) -> Read | None:
    """Say how a slide's table is read: denoised once, then from the cache; None = as measured."""
    if choice.denoise == "none":
        return None
    # Fitted when the first table is not in the cache: completion takes minutes.
    denoiser = cache_once(
        partial(fit_denoiser, choice.denoise, cohort, seed=seed, rank=choice.rank, own=choice.own)
    )
    key = {
        "what": "denoised",
        "version": DENOISE_VERSION,
        "choice": choice.model_dump(mode="json", exclude={"counts_only"}),
        "seed": seed,
        "cohort": [slide.fingerprint for slide in cohort],
    }
    entries = {
        slide.fingerprint: cache.get(
            key | {"slide": slide.fingerprint}, partial(_denoised, denoiser, slide)
        )
        for slide in cohort
    }
    return lambda slide: entries[slide.fingerprint].mapped("log")


def _denoised(
    denoiser: Callable[[], Denoiser], slide: Expression
) -> dict[str, NDArray[np.float32]]:
    return {"log": denoiser()(slide)}
