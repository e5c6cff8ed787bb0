"""What libraries say fits into one sentence of ours."""

from __future__ import annotations

import pytest

from hypergene.errors import first_line


@pytest.mark.parametrize(
    ("said", "taken"),
    [("Broken.\nAt line 3", "Broken"), ("  \n cut off ", "cut off"), ("", "ValueError")],
)
def test_the_first_line_stands_for_an_error(said: str, taken: str) -> None:
    assert first_line(ValueError(said)) == taken
