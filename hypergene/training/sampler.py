"""Which spots meet in a batch: a few slides, patients alike often, some spots of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hypergene.training.section import Section


def batches_per_epoch(
    sections: Sequence[Section], slides_per_batch: int, spots_per_slide: int
) -> int:
    """Return how many batches draw as many spots as there are, at least 1."""
    drawn = min(slides_per_batch, len(sections)) * spots_per_slide
    return max(1, round(sum(len(section) for section in sections) / drawn))


def balanced_batches(
    sections: Sequence[Section],
    slides_per_batch: int,
    spots_per_slide: int,
    generator: torch.Generator,
) -> Iterator[list[tuple[int, Tensor]]]:
    """Yield the batches of one epoch.

    A batch is `slides_per_batch` different sections with `spots_per_slide` different spots each.
    A section is drawn in proportion to its spots, shared among patients: a patient with many
    sections, or a section with many spots, does not drown the others (the chance of a section is
    the mean of its share of spots and its patient's equal share). An epoch has as many batches as
    it takes to draw as many spots as there are.

    Yields
    ------
    list of (section number, (k,) int64 spot numbers)
    """
    slides = min(slides_per_batch, len(sections))
    total = sum(len(section) for section in sections)
    batches = batches_per_epoch(sections, slides_per_batch, spots_per_slide)
    patients = [section.patient or section.name for section in sections]
    by_patient = {name: patients.count(name) for name in patients}
    chance = torch.tensor(
        [
            0.5 * len(section) / total + 0.5 / len(by_patient) / by_patient[patient]
            for section, patient in zip(sections, patients, strict=True)
        ]
    )
    for _ in range(batches):
        chosen = torch.multinomial(chance, slides, generator=generator).tolist()
        yield [
            (
                number,
                torch.randperm(len(sections[number]), generator=generator)[:spots_per_slide],
            )
            for number in sorted(chosen)
        ]
