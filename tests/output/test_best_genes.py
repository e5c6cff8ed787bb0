"""The genes that are shown first are those predicted best, and always the same ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from hypergene.output import best_held_out

SCORES = st.lists(
    st.one_of(st.just(float("nan")), st.floats(-1, 1, allow_nan=False)), min_size=1, max_size=30
)


@given(SCORES, st.integers(1, 40))
def test_no_gene_left_out_is_better_and_of_two_alike_the_earlier_goes_first(
    scores: list[float], count: int
) -> None:
    var = pd.DataFrame({"heldout_pcc": scores}, index=[f"G{i}" for i in range(len(scores))])
    chosen = best_held_out(var, count)
    assert len(set(chosen)) == len(chosen) == min(count, len(scores))
    rank = [(-np.nan_to_num(scores[int(gene[1:])], nan=-2), int(gene[1:])) for gene in chosen]
    assert rank == sorted(rank)
    left = [score for i, score in enumerate(scores) if f"G{i}" not in chosen]
    least = min(-first for first, _ in rank)
    assert all(np.isnan(score) or score <= least for score in left)
