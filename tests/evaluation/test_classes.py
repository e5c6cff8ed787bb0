"""What may be read goes by the interval and the ceiling."""

from __future__ import annotations

import pytest

from hypergene.evaluation.classes import reliability_classes


@pytest.mark.parametrize(
    ("pcc", "low", "ceiling", "wanted"),
    [
        (0.6, 0.4, 0.9, "A"),
        (0.4, 0.35, 0.9, "B"),
        (0.3, 0.2, 0.9, "B"),
        (0.3, 0.05, 0.9, "C"),
        (0.15, 0.12, 0.9, "C"),
        (0.2, -0.01, 0.9, "refuse"),
        (float("nan"), float("nan"), 0.9, "refuse"),
        (0.6, 0.4, float("nan"), "C"),
    ],
)
def test_classes_go_by_the_lower_end_and_the_share_of_the_ceiling(
    pcc: float, low: float, ceiling: float, wanted: str
) -> None:
    assert reliability_classes([pcc], [low], [ceiling]).tolist() == [wanted]
