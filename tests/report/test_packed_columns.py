"""What is packed says the file's value, to the digits that are kept."""

from __future__ import annotations

import base64
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from hypergene.errors import DataError
from hypergene.report.packed_columns import (
    PackedColumn,
    decimals_for,
    pack,
    pack_names,
    summary_of,
)

COLUMNS = arrays(
    np.float32,
    st.integers(0, 60),
    elements=st.floats(-1000, 1000, width=32) | st.just(float("nan")),
)


def unpack(column: PackedColumn, count: int) -> NDArray[np.float64]:
    """Read a column as the page's script does, for comparison."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(column.text)), np.uint8)
    assert len(planes) == column.planes * count
    values, code = [], 0
    for spot in range(count):
        folded = sum(int(planes[p * count + spot]) << 8 * p for p in range(column.planes))
        code += (folded >> 1) ^ -(folded & 1)
        known = (code - 1 + column.first) / 10**column.decimals
        values.append(known if code else float("nan"))
    return np.array(values)


@given(COLUMNS, st.integers(0, 4))
def test_every_number_comes_back_as_it_would_be_printed(
    values: NDArray[np.float32], decimals: int
) -> None:
    back = unpack(pack(values, decimals), len(values))
    said = [f"{float(value) + 0.0:.{decimals}f}" for value in back]
    meant = [f"{float(value):.{decimals}f}" for value in values]
    assert [text.replace("-0." + "0" * decimals, "0." + "0" * decimals) for text in said] == [
        "0" + text[2:] if float(text) == 0 and text.startswith("-") else text for text in meant
    ]


@given(COLUMNS, st.integers(2, 1000))
def test_so_many_levels_are_told_apart_and_not_many_more(
    values: NDArray[np.float32], levels: int
) -> None:
    decimals = decimals_for(values, levels)
    known = values[np.isfinite(values)].astype(np.float64)
    span = np.ptp(known) if len(known) else 0.0
    if 0 < decimals < 8 and span > 0:
        assert levels <= span * 10**decimals * (1 + 1e-9)
        assert span * 10 ** (decimals - 1) < levels


@pytest.mark.parametrize("value", [0.0, 0.0123, 250.0])
def test_a_constant_keeps_its_value(value: float) -> None:
    values = np.full(5, value, np.float32)
    decimals = decimals_for(values, 400)
    assert unpack(pack(values, decimals), 5) == pytest.approx(value, rel=0.005)


def test_a_smooth_map_takes_little_room() -> None:
    place = np.linspace(0, 6, 50_000)
    smooth = pack(np.sin(place), 3)
    noise = pack(np.random.default_rng(0).uniform(-1, 1, 50_000), 3)
    assert len(smooth.text) < len(noise.text) / 10
    assert len(noise.text) < 50_000 * 2 * 4 / 3


def test_nothing_is_packed_into_nothing() -> None:
    assert len(unpack(pack([], 3), 0)) == 0
    assert np.isnan(unpack(pack([np.nan, np.inf], 3), 2)).all()
    assert decimals_for([np.nan], 400) == 0


def test_what_does_not_fit_is_one_sentence() -> None:
    with pytest.raises(DataError, match=r"Numbers from 0 to 1e\+30 do not fit") as error:
        pack([0.0, 1e30], 3)
    assert error.value.hint


def test_names_come_back() -> None:
    names = ["r1c2", "µ </script>", "\n"]
    packed = zlib.decompress(base64.b64decode(pack_names(names)))
    assert json.loads(packed) == names


def test_a_summary_leaves_out_what_is_unknown() -> None:
    values = [*range(101), np.nan]
    assert summary_of(values) == {
        "least": 0, "low": 1, "median": 50, "high": 99, "greatest": 100,
    }  # fmt: skip
    assert set(summary_of([np.nan]).values()) == {None}
