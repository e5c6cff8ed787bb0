from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from hypergene.training.sampler import balanced_batches, batches_per_epoch
from hypergene.training.section import Section


def test_a_batch_is_different_spots_of_different_slides(
    make_section: Callable[..., Section],
) -> None:
    sections = [make_section(f"S{i}", "ABC"[i % 3], i) for i in range(4)]
    for batch in balanced_batches(sections, 3, 8, torch.Generator().manual_seed(0)):
        assert len({number for number, _ in batch}) == 3
        for _, spots in batch:
            assert len(set(spots.tolist())) == 8


def test_an_epoch_draws_as_many_spots_as_there_are(make_section: Callable[..., Section]) -> None:
    sections = [make_section(f"S{i}", "A", i) for i in range(3)]
    batches = list(balanced_batches(sections, 2, 6, torch.Generator().manual_seed(0)))
    drawn = sum(len(spots) for batch in batches for _, spots in batch)
    assert drawn == sum(len(section) for section in sections)


@pytest.mark.parametrize(("balance", "share"), [(1.0, 1 / 2), (0.0, 1 / 7), (0.5, 9 / 28)])
def test_a_patient_with_many_sections_drowns_the_other_only_if_spots_decide(
    make_section: Callable[..., Section], balance: float, share: float
) -> None:
    sections = [make_section("B", "B", 0)] + [make_section(f"C{i}", "C", i) for i in range(6)]
    seen: Counter[int] = Counter()
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        for batch in balanced_batches(sections, 1, 8, generator, balance=balance):
            seen.update(number for number, _ in batch)
    assert abs(seen[0] / sum(seen.values()) - share) < 0.03


def test_slides_with_fewer_spots_than_asked_give_all_they_have(
    make_section: Callable[..., Section],
) -> None:
    small = [make_section("S", "A", 0, side=2)]
    (batch,) = balanced_batches(small, 4, 16, torch.Generator().manual_seed(0))
    assert sorted(batch[0][1].tolist()) == [0, 1, 2, 3]


def test_several_processes_draw_an_epoch_together(make_section: Callable[..., Section]) -> None:
    sections = [make_section(f"S{i}", "A", i) for i in range(4)]
    counts = [
        len(list(balanced_batches(sections, 2, 6, torch.Generator().manual_seed(rank), 3)))
        for rank in range(3)
    ]
    assert counts == [4, 4, 4]  # of 12 spots each: 144 in all
    assert batches_per_epoch(sections, 2, 6, 3) == 4 and batches_per_epoch(sections, 2, 6) == 12
