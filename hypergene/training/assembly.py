"""From spots drawn to a batch: what is known of them, what they look like, what is around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypergene.features.context import joined, surroundings
from hypergene.model.config import ModelConfig
from hypergene.training.assess import EncodedSection
from hypergene.training.augment import random_views
from hypergene.training.batch import Batch
from hypergene.training.facts import SpotFacts
from hypergene.training.recipe import Recipe
from hypergene.training.section import Section, SectionTiles

MOMENTUM = 0.9
"""Of a slide's running mean features, per batch in which the slide occurs."""
_NAMED = 6
"""Spots of a slide that a message names, at most."""

T = TypeVar("T")


class Loaded(NamedTuple):
    """A batch that only waits for its features.

    Attributes
    ----------
    seen
        With a frozen encoder (b, features) float32, slide-centred; otherwise random views
        (b, crops, 3, px, px) float32 in 0..255, to be encoded and centred.
    parts
        Slides of the batch in the order of its rows: (number of the slide, number of its spots).
    complete
        Makes the batch of its slide-centred features (b, features) float32.
    """

    seen: Tensor
    parts: tuple[tuple[int, int], ...]
    complete: Callable[[Tensor], Batch]


class Assembly:
    """Puts batches together from training sections.

    Parameters
    ----------
    sections
        The training sections.
    facts
        What the objective knows of their spots, in the same order.
    config
        The model's configuration.
    recipe
        How views are drawn.
    device
        Where batches lie.
    """

    def __init__(
        self,
        sections: Sequence[Section],
        facts: Sequence[SpotFacts],
        config: ModelConfig,
        recipe: Recipe,
        device: torch.device,
    ) -> None:
        self.sections, self.facts = list(sections), list(facts)
        self.config, self.recipe, self.device = config, recipe, device
        self.encoded: Sequence[EncodedSection] = ()

    def see(self, encoded: Sequence[EncodedSection]) -> None:
        """Take the context, and the means of a frozen encoder, from sections encoded anew."""
        self.encoded = encoded

    def load(self, drawn: Sequence[tuple[int, Tensor]], generator: torch.Generator) -> Loaded:
        """Gather all there is to know of a batch.

        Parameters
        ----------
        drawn
            (number of the section, (k,) int64 its spots), at least one; see :meth:`see` first.
        generator
            Source of the views, on the CPU.
        """
        rows = [(number, spots.numpy()) for number, spots in drawn]
        parts = tuple((number, len(spots)) for number, spots in rows)
        slide = torch.repeat_interleave(*torch.tensor(parts).T)
        facts = [(self.facts[number], spots) for number, spots in rows]
        around = [
            surroundings(
                self.encoded[number].context.features,
                self.sections[number].rings,
                self.sections[number].nearest,
                spots,
                self.device,
            )
            for number, spots in rows
        ]
        complete = partial(
            Batch,
            around=joined(around),
            slide=slide.to(self.device),
            xy_um=self._stack([self.sections[number].xy_um[spots] for number, spots in rows]),
            scores=self._stack([fact.scores[spots] for fact, spots in facts]),
            niche_scores=self._stack([fact.niche_scores[spots] for fact, spots in facts]),
            log_depth=self._stack([fact.log_depth[spots] for fact, spots in facts]),
            richness=self._stack([fact.richness[spots] for fact, spots in facts]),
            likeness=self._stack([fact.likeness[spots] for fact, spots in facts]),
            clusters=self._stack_if(
                [None if fact.clusters is None else fact.clusters[spots] for fact, spots in facts]
            ),
            counts=self._stack_if([fact.counts(spots) for fact, spots in facts]),
            measured=self._measured(facts),
            spots="; ".join(self._name(number, spots) for number, spots in rows),
        )
        return Loaded(self._seen(rows, generator), parts, complete)

    def _seen(
        self, rows: Sequence[tuple[int, NDArray[np.int64]]], generator: torch.Generator
    ) -> Tensor:
        found: list[NDArray] = []
        for number, spots in rows:
            images = self.sections[number].images
            if isinstance(images, SectionTiles):
                found.append(images.wide[spots])
            else:
                found.append(images.drawn(spots, generator) - self.encoded[number].context.mean)
        seen = torch.from_numpy(np.concatenate(found)).to(self.device)
        if self.recipe.train.encoder == "frozen":
            return seen
        pixels = seen.permute(0, 1, 4, 2, 3)
        return random_views(pixels, self.config.encoder.tile_px, self.recipe.augment, generator)

    def _measured(self, facts: Sequence[tuple[SpotFacts, NDArray[np.int64]]]) -> Tensor | None:
        parts = [
            None if fact.measured is None else np.tile(fact.measured, (len(spots), 1))
            for fact, spots in facts
        ]
        stacked = self._stack_if(parts)
        return None if stacked is None else stacked.bool()

    def _stack_if(self, parts: Sequence[NDArray | None]) -> Tensor | None:
        """Stack what all slides have, or none of them."""
        there = [part for part in parts if part is not None]
        return self._stack(there) if there else None

    def _stack(self, parts: Sequence[NDArray]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts).astype(np.float32)).to(self.device)

    def _name(self, number: int, spots: NDArray[np.int64]) -> str:
        rows = ", ".join(map(str, spots[:_NAMED]))
        return f"{self.sections[number].name} spots {rows}{' ...' if len(spots) > _NAMED else ''}"


class SlideMeans:
    """Running mean features of the slides, for an encoder that changes from step to step.

    A batch's own mean enters the average that its features are centred by; it is kept only if the
    step that it belongs to was taken.

    Parameters
    ----------
    slides
        How many there are.
    features
        Length of the features.
    device
        Where the features lie.
    """

    def __init__(self, slides: int, features: int, device: torch.device) -> None:
        self.values = torch.zeros(slides, features, device=device)
        self.seen = torch.zeros(slides, dtype=torch.bool)

    def centred(
        self, features: Tensor, parts: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, list[Tensor]]:
        """Centre features of several slides by means that no gradient enters.

        Parameters
        ----------
        features
            (b, features) float32, slide by slide.
        parts
            (number of the slide, number of its spots).

        Returns
        -------
        tuple of Tensor and list of Tensor
            (b, features) float32, and the means (features,) float32 that were taken off.
        """
        blocks = features.split([count for _, count in parts])
        means = []
        for (number, _), block in zip(parts, blocks, strict=True):
            now = block.detach().mean(0)
            old = self.values[number]
            means.append(MOMENTUM * old + (1 - MOMENTUM) * now if bool(self.seen[number]) else now)
        centred = [block - mean for block, mean in zip(blocks, means, strict=True)]
        return torch.cat(centred), means

    def keep(self, parts: Sequence[tuple[int, int]], means: Sequence[Tensor]) -> None:
        """Keep the means of a batch whose step was taken."""
        for (number, _), mean in zip(parts, means, strict=True):
            self.values[number] = mean
            self.seen[number] = True


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Make each item while the one before it is in use, in one thread and in order.

    The thread alone runs `items`; what it raises is raised here. When this iterator has given its
    last item, nothing is left in the making.
    """
    with ThreadPoolExecutor(1) as thread:
        end = object()
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]
