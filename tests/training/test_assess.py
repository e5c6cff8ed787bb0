from __future__ import annotations

import pytest

from hypergene.training.assess import choose_share, selection_metric


def test_the_even_average_stays_for_a_small_gain_and_goes_for_a_large_one() -> None:
    assert choose_share({0.5: {"all": 0.200}, 1.0: {"all": 0.205}}) == 0.5
    assert choose_share({0.5: {"all": 0.200}, 1.0: {"all": 0.215}}) == 1.0
    assert choose_share({0.0: {"all": 0.230}, 0.5: {"all": 0.200}, 1.0: {"all": 0.215}}) == 0.0


def test_every_gene_set_counts_alike_in_the_selection() -> None:
    assert selection_metric({"expressed": 0.1, "HVG-50": 0.5, "HVG-250": 0.3}) == pytest.approx(0.3)
