"""Every spot is read and encoded once, and nothing but the spot decides its features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hypergene.errors import SlideError, UsageError
from hypergene.features.encode import Encoding, encode_spots, encode_tiles
from hypergene.model.encoder import TileEncoder
from hypergene.slide import Slide

CPU = torch.device("cpu")
Places = NDArray[np.float64]


def encode(slide: Slide, xy_px: Places, encoder: TileEncoder, **options: object) -> Encoding:
    options = {"batch_size": 64, "workers": 0} | options
    return encode_spots(
        slide,
        xy_px,
        encoder,
        tile_um=(60.0, 150.0),
        tile_px=32,
        device=CPU,
        **options,  # type: ignore[arg-type]
    )


def test_features_are_those_of_the_tiles_read_by_hand(
    slide: Slide, xy_px: Places, encoder: TileEncoder
):
    tiles = np.stack([[slide.read_um(x, y, um, 32) for um in (60.0, 150.0)] for x, y in xy_px])
    encoding = encode(slide, xy_px, encoder)
    assert encoding.features.dtype == np.float32
    assert encoding.features.shape == (len(xy_px), encoder.features)
    np.testing.assert_allclose(encoding.features, encode_tiles(encoder, tiles, CPU), atol=1e-5)
    assert encoding.features.std(0).max() > 0.1  # the spots differ, so a wrong order would show
    assert not len(encoding.unreadable)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (5, 2), (23, 1), (100, 3)])
def test_batches_and_workers_change_no_features(
    slide: Slide, xy_px: Places, encoder: TileEncoder, batch_size: int, workers: int
):
    plain = encode(slide, xy_px, encoder).features
    other = encode(slide, xy_px, encoder, batch_size=batch_size, workers=workers).features
    np.testing.assert_allclose(other, plain, atol=1e-5)


def test_features_of_a_spot_do_not_depend_on_the_other_spots(
    slide: Slide, xy_px: Places, encoder: TileEncoder
):
    chosen = [20, 3, 11]
    some = encode(slide, xy_px[chosen], encoder).features
    np.testing.assert_allclose(some, encode(slide, xy_px, encoder).features[chosen], atol=1e-5)


def test_progress_counts_every_tile_and_time_is_kept(
    slide: Slide, xy_px: Places, encoder: TileEncoder
):
    done: list[int] = []
    encoding = encode(slide, xy_px, encoder, batch_size=10, progress=done.append)
    assert done == [10, 10, 3] * 2
    assert encoding.reading_s > 0 and encoding.encoding_s > 0


def test_no_spots_have_no_features(slide: Slide, encoder: TileEncoder):
    encoding = encode(slide, np.zeros((0, 2)), encoder)
    assert encoding.features.shape == (0, encoder.features)


def test_an_unreadable_spot_is_encoded_as_white_and_named_once(
    slide: Slide, xy_px: Places, encoder: TileEncoder, monkeypatch: pytest.MonkeyPatch
):
    read_um = slide.read_um

    def blemished(x: float, y: float, width_um: float, size_px: int) -> NDArray[np.uint8]:
        if x == xy_px[9, 0]:
            raise SlideError("This tile is damaged.")
        return read_um(x, y, width_um, size_px)

    monkeypatch.setattr(slide, "read_um", blemished)
    encoding = encode(slide, xy_px, encoder)
    assert encoding.unreadable.tolist() == [9]
    white = np.full((1, 2, 32, 32, 3), 255, np.uint8)
    np.testing.assert_allclose(
        encoding.features[9], encode_tiles(encoder, white, CPU)[0], atol=1e-5
    )


def test_a_slide_that_is_mostly_unreadable_is_a_slide_error(
    slide: Slide, xy_px: Places, encoder: TileEncoder, monkeypatch: pytest.MonkeyPatch
):
    def damaged(*_: object) -> NDArray[np.uint8]:
        raise SlideError("This tile is damaged.")

    monkeypatch.setattr(slide, "read_um", damaged)
    with pytest.raises(SlideError, match="is damaged"):
        encode(slide, xy_px, encoder)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_at_least_one_tile(
    slide: Slide, xy_px: Places, encoder: TileEncoder, batch_size: int
):
    with pytest.raises(UsageError, match=f"{batch_size} tiles"):
        encode(slide, xy_px, encoder, batch_size=batch_size)


def test_channels_are_red_green_blue(encoder: TileEncoder):
    encoder.network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    tile = np.zeros((1, 1, 32, 32, 3), np.uint8)
    tile[..., 0], tile[..., 2] = 255, 51
    mean, std = encoder.mean.flatten().numpy(), encoder.std.flatten().numpy()
    expected = (np.array([255, 0, 51]) - mean) / std
    np.testing.assert_allclose(encode_tiles(encoder, tile, CPU)[0], expected, rtol=1e-5)
