"""How tiles are put into batches changes no feature, and a full device gets smaller ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypergene.errors import HypergeneError
from hypergene.features import batches as module
from hypergene.features.batches import BatchEncoder, automatic_batch
from hypergene.features.encode import encode_tiles
from hypergene.model.encoder import TileEncoder

CPU = torch.device("cpu")
Tiles = NDArray[np.uint8]


@pytest.fixture
def tiles() -> Tiles:
    rng = np.random.default_rng(0)
    brightness = np.linspace(40, 256, 21).astype(int)  # or they would all look alike
    return np.stack([rng.integers(0, most, (1, 32, 32, 3), np.uint8) for most in brightness])


def stream(tiles: Tiles, size: int) -> Iterator[tuple[NDArray[np.int64], Tiles]]:
    """Tiles as readers bring them, last ones first."""
    for start in range(0, len(tiles), size):
        rows = np.arange(start, min(start + size, len(tiles)))[::-1].copy()
        yield rows, tiles[rows]


def features(run: BatchEncoder, tiles: Tiles, size: int) -> NDArray[np.float32]:
    found = dict.fromkeys(range(len(tiles)))
    for rows, values in run.over(stream(tiles, size)):
        assert len(rows) == len(values) and values.dtype == np.float32
        found.update(zip(rows.tolist(), values, strict=True))
    return np.stack(list(found.values()))


@pytest.mark.parametrize(("limit", "read"), [(64, 64), (8, 8), (8, 4), (5, 3), (2, 64), (1, 1)])
def test_batches_change_features_by_rounding_at_most(
    encoder: TileEncoder, tiles: Tiles, limit: int, read: int
):
    whole = encode_tiles(encoder, tiles, CPU)
    assert whole.std(0).max() > 0.1
    run = BatchEncoder(encoder, CPU, batch_size=limit)
    np.testing.assert_allclose(features(run, tiles, read), whole, atol=2e-6)
    assert run.busy_s > 0


def test_a_tile_alone_is_computed_like_one_among_others(encoder: TileEncoder, tiles: Tiles):
    seen: list[int] = []
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    alone = encode_tiles(encoder, tiles[:1], CPU)
    assert alone.shape == (1, encoder.features // 2)
    assert seen == [2]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 12))
def test_readers_batches_are_joined_without_losing_or_doubling_a_row(sizes: list[int], limit: int):
    run = BatchEncoder(torch.nn.Identity(), CPU, batch_size=limit)  # type: ignore[arg-type]
    ends = np.cumsum(sizes)
    brought = [
        (np.arange(end - size, end), np.full((size, 1, 2, 2, 3), end, np.uint8))
        for size, end in zip(sizes, ends.tolist(), strict=True)
    ]
    joined = list(run._gathered(brought))
    assert np.array_equal(np.concatenate([rows for rows, _ in joined]), np.arange(ends[-1]))
    for rows, tiles in joined[:-1]:
        assert limit <= len(rows) == len(tiles) < limit + max(sizes)
    together = torch.cat([tiles for _, tiles in joined])[:, 0, 0, 0, 0]
    assert together.tolist() == np.repeat(ends, sizes).tolist()


class Small(torch.nn.Module):
    """An encoder on a device that has room for so many tiles at once."""

    def __init__(self, encoder: TileEncoder, room: int) -> None:
        super().__init__()
        self.inner, self.room, self.asked = encoder, room, []

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(tiles))
        if len(tiles) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")
        return self.inner(tiles)


def test_a_full_device_gets_half_as_many_tiles_from_then_on(
    encoder: TileEncoder, tiles: Tiles, caplog: pytest.LogCaptureFixture
):
    small = Small(encoder, room=5)
    run = BatchEncoder(small, CPU, batch_size=16)  # type: ignore[arg-type]
    found = features(run, tiles, 16)
    np.testing.assert_allclose(found, encode_tiles(encoder, tiles, CPU), atol=2e-6)
    assert small.asked == [16, 8, 4, 4, 4, 4, 4, 2]
    assert run.limit == 4
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "out of memory with 16 tiles" in said[0] and "going on with 8" in said[0]


def test_a_batch_that_fits_is_found_before_the_first_tile(encoder: TileEncoder):
    run = BatchEncoder(Small(encoder, room=7), CPU, batch_size=64)  # type: ignore[arg-type]
    assert run.fit(tile_px=32) == run.limit == 4


def test_a_device_without_room_for_one_tile_is_one_sentence(encoder: TileEncoder, tiles: Tiles):
    run = BatchEncoder(Small(encoder, room=0), CPU, batch_size=4)  # type: ignore[arg-type]
    with pytest.raises(HypergeneError, match="out of memory with a single tile") as caught:
        features(run, tiles, 4)
    assert caught.value.hint


def test_the_automatic_batch_is_as_many_pixels_for_every_encoder():
    gpu = torch.device("cuda")
    assert automatic_batch(CPU, 224) == automatic_batch(CPU, 32) == 64
    assert automatic_batch(gpu, 224) == 256
    assert automatic_batch(gpu, 112) == 1024
    assert automatic_batch(gpu, 256) == 128
    assert automatic_batch(gpu, 32) == 2048
    assert automatic_batch(gpu, 2048) == 64


def test_a_compiled_encoder_sees_one_size_only(
    encoder: TileEncoder, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
):
    sizes: list[int] = []

    def fake(network: TileEncoder, dynamic: bool) -> object:
        assert dynamic is False
        return lambda batch: sizes.append(len(batch)) or network(batch)

    monkeypatch.setattr(torch, "compile", fake)
    module._compiled.cache_clear()
    run = BatchEncoder(encoder, CPU, batch_size=8, compile=True)
    found = features(run, tiles, 8)
    module._compiled.cache_clear()
    np.testing.assert_allclose(found, encode_tiles(encoder, tiles, CPU), atol=2e-6)
    assert sizes == [8, 8, 8]


def test_an_encoder_that_cannot_be_compiled_is_one_sentence(
    encoder: TileEncoder, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
):
    def fake(network: TileEncoder, dynamic: bool) -> object:
        def fails(_: object) -> None:
            raise RuntimeError("Failed to find C compiler.\nPlease specify via CC.")

        return fails

    monkeypatch.setattr(torch, "compile", fake)
    module._compiled.cache_clear()
    run = BatchEncoder(encoder, CPU, batch_size=8, compile=True)
    with pytest.raises(HypergeneError, match="compiled here: Failed to find C compiler") as caught:
        features(run, tiles, 8)
    module._compiled.cache_clear()
    assert "--compile" in (caught.value.hint or "")
