"""Which spots meet in a batch: a few slides, patients alike often, some spots of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hypergene.training.section import Section


def batches_per_epoch(
    sections: Sequence[Section], slides_per_batch: int, spots_per_slide: int, processes: int = 1
) -> int:
    """Return after how many batches in each process as many spots as there are were drawn.

    At least 1. Each process draws batches of its own.
    """
    drawn = min(slides_per_batch, len(sections)) * spots_per_slide * processes
    return max(1, round(sum(len(section) for section in sections) / drawn))


def balanced_batches(
    sections: Sequence[Section],
    slides_per_batch: int,
    spots_per_slide: int,
    generator: torch.Generator,
    processes: int = 1,
    balance: float = 1.0,
) -> Iterator[list[tuple[int, Tensor]]]:
    """Yield the batches of one epoch.

    A batch is `slides_per_batch` different sections with `spots_per_slide` different spots each.
    With a `balance` of 1 patients are drawn alike often, and so are the sections of each: one with
    many sections does not drown the others. With 0 a section is drawn in proportion to its spots;
    between them its chance is the weighted mean of both. An epoch has as many batches as it takes
    to draw as many spots as there are, in all `processes` together.

    Yields
    ------
    list of (section number, (k,) int64 spot numbers)
    """
    slides = min(slides_per_batch, len(sections))
    total = sum(len(section) for section in sections)
    batches = batches_per_epoch(sections, slides_per_batch, spots_per_slide, processes)
    patients = [section.patient or section.name for section in sections]
    by_patient = {name: patients.count(name) for name in patients}
    chance = torch.tensor(
        [
            (1 - balance) * len(section) / total + balance / len(by_patient) / by_patient[patient]
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
