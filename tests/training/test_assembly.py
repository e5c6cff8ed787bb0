from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny.run import EVERYTHING, tiny_trainer

from hypergene.training.assembly import Loaded, SlideMeans, one_ahead
from hypergene.training.trainer import Trainer

DRAWN = [(0, torch.tensor([7, 2, 30])), (1, torch.tensor([5, 11]))]


def load(trainer: Trainer, seed: int = 0) -> Loaded:
    trainer._look_around()
    return trainer.assembly.load(DRAWN, torch.Generator().manual_seed(seed))


def test_a_batch_holds_each_spot_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    counts = "loss.regression.kind=negative-binomial"
    trainer = tiny_trainer(tmp_path, *EVERYTHING, counts, "train.encoder=frozen")
    loaded = load(trainer)
    batch = loaded.complete(loaded.seen)
    assert loaded.parts == ((0, 3), (1, 2))
    assert batch.slide.tolist() == [0, 0, 0, 1, 1]
    rows = [(0, 7), (0, 2), (0, 30), (1, 5), (1, 11)]
    for place, (number, spot) in enumerate(rows):
        section, facts = trainer.train_sections[number], trainer.assembly.facts[number]
        mean = trainer.assembly.encoded[number].context.mean
        features = section.images.spots[spot] - mean  # type: ignore[union-attr]
        np.testing.assert_array_equal(batch.features[place], features)
        np.testing.assert_allclose(batch.xy_um[place], section.xy_um[spot])
        np.testing.assert_array_equal(batch.scores[place], facts.scores[spot])
        np.testing.assert_array_equal(batch.niche_scores[place], facts.niche_scores[spot])
        np.testing.assert_array_equal(batch.log_depth[place], facts.log_depth[spot])
        np.testing.assert_array_equal(batch.richness[place], facts.richness[spot])
        np.testing.assert_array_equal(batch.likeness[place], facts.likeness[spot])
        assert batch.clusters is not None and facts.clusters is not None
        np.testing.assert_array_equal(batch.clusters[place], facts.clusters[spot])
        assert batch.counts is not None and batch.measured is not None
        measured = section.expression.counts()[spot].toarray()[0]
        np.testing.assert_array_equal(batch.counts[place], measured)
        assert bool(batch.measured[place].all())
    assert batch.spots == "A1 spots 7, 2, 30; B1 spots 5, 11"


@pytest.mark.parametrize("reader", ["rings", "attention"])
def test_a_spot_of_a_batch_sees_what_it_sees_with_its_whole_slide(
    tmp_path: Path, reader: str
) -> None:
    trainer = tiny_trainer(tmp_path, f"niche.reader={reader}", "train.encoder=frozen")
    loaded = load(trainer)
    model = trainer.model.eval()
    batch = loaded.complete(loaded.seen)
    found = model(batch.features, batch.around)
    for number, places in ((0, slice(0, 3)), (1, slice(3, 5))):
        encoded = trainer.assembly.encoded[number]
        whole = model(torch.from_numpy(encoded.features), encoded.around(trainer.device))
        spots = DRAWN[number][1]
        torch.testing.assert_close(found.image.attended[places], whole.image.attended[spots])
        torch.testing.assert_close(found.head.mean[places], whole.head.mean[spots])


def test_an_encoder_in_training_is_given_views_of_its_own_draw(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    one, again, other = load(trainer), load(trainer), load(trainer, seed=1)
    assert one.seen.shape == (5, 1, 3, 32, 32)
    assert torch.equal(one.seen, again.seen) and not torch.equal(one.seen, other.seen)


def test_slide_means_are_those_of_the_batch_first_and_then_move_slowly() -> None:
    means = SlideMeans(3, 2, torch.device("cpu"))
    features = torch.tensor([[1.0, 2.0], [3.0, 6.0], [10.0, 20.0]], requires_grad=True)
    parts = ((0, 2), (2, 1))
    centred, taken = means.centred(features, parts)
    assert [mean.tolist() for mean in taken] == [[2.0, 4.0], [10.0, 20.0]]
    assert centred.tolist() == [[-1.0, -2.0], [1.0, 2.0], [0.0, 0.0]]
    assert not means.seen.any()  # nothing is kept until the step was taken
    means.keep(parts, taken)
    assert means.seen.tolist() == [True, False, True]
    _, taken = means.centred(features + 10, parts)
    np.testing.assert_allclose(taken[0].detach(), [2.0 * 0.9 + 12 * 0.1, 4 * 0.9 + 14 * 0.1])
    assert not any(mean.requires_grad for mean in taken)


def test_the_next_item_is_made_while_one_is_in_use() -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    ahead = one_ahead(items())
    assert next(ahead) == 0
    assert made[1].wait(5)
    assert not made[2].is_set()
    assert list(ahead) == [1, 2]


def test_what_goes_wrong_in_the_making_is_raised_where_it_is_used() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("gone")

    ahead = one_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="gone"):
        next(ahead)
