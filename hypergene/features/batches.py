"""Batches of tiles through an image encoder: one on its way while the one before is computed."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypergene.errors import HypergeneError, UsageError, first_line
from hypergene.features.device import encoder_precision
from hypergene.model.encoder import TileEncoder

log = logging.getLogger(__name__)

CPU_TILES = 64
"""Tiles at once on a CPU: more of them are no faster."""
_GPU_PIXELS = 256 * 224 * 224
_GPU_TILES = (64, 2048)

Rows = NDArray[np.int64]


class _Running(NamedTuple):
    """A batch whose features may not be there yet; events are a GPU's."""

    rows: Rows
    features: Tensor
    started: Any
    done: Any


def automatic_batch(device: torch.device, tile_px: int) -> int:
    """Return how many tiles of `tile_px` px to encode at once, if memory allows.

    On a GPU as many pixels as 256 tiles of 224 px have, a power of two: enough to keep a large
    card busy with any encoder. It does not depend on the card, so that neither do the numbers.
    """
    if device.type == "cpu":
        return CPU_TILES
    least, most = _GPU_TILES
    return min(most, max(least, 1 << (_GPU_PIXELS // tile_px**2 or 1).bit_length() - 1))


class BatchEncoder:
    """Run an image encoder over batches of uint8 tiles.

    On a GPU tiles are copied from pinned memory on a stream of their own while the batch before is
    computed, and normalised there. A device that is out of memory gets half as many tiles at once
    from then on.

    Parameters
    ----------
    encoder
        The image encoder, on `device`, in evaluation mode.
    device
        Where it is.
    batch_size
        Tiles at once, at most; at least 1.
    compile
        Compile it with ``torch.compile``, which takes a minute and helps large encoders on a GPU.

    Attributes
    ----------
    limit
        Tiles at once: `batch_size`, or what has been found to fit into memory.
    busy_s
        Seconds the device has computed.

    Raises
    ------
    UsageError
        `batch_size` is below 1.
    """

    def __init__(
        self,
        encoder: TileEncoder,
        device: torch.device,
        *,
        batch_size: int = CPU_TILES,
        compile: bool = False,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"A batch of {batch_size} tiles cannot be.", hint="Give at least 1.")
        self.encoder, self.device, self.limit = encoder, device, batch_size
        self.busy_s = 0.0
        self._compile = compile
        self._on_gpu = device.type == "cuda"
        self._copies = torch.cuda.Stream(device) if self._on_gpu else None

    def over(
        self, batches: Iterable[tuple[Rows, NDArray[np.uint8]]]
    ) -> Iterator[tuple[Rows, NDArray[np.float32]]]:
        """Encode batches as they come.

        Parameters
        ----------
        batches
            Rows (b,) int64 and their tiles (b, crops, px, px, 3) uint8, RGB; of any size.

        Yields
        ------
        rows : numpy.ndarray
            int64 (n,), some that came, in their order.
        features : numpy.ndarray
            float32 (n, features) of these rows.

        Raises
        ------
        HypergeneError
            The device is out of memory with a single tile, or the encoder cannot be compiled.
        """
        running: deque[_Running] = deque()
        for rows, tiles in self._gathered(batches):
            running.append(self._start(rows, tiles))
            # A GPU gets its next batch before this process waits for the one before.
            if len(running) > self._on_gpu:
                yield self._finish(running.popleft())
        while running:
            yield self._finish(running.popleft())

    @torch.inference_mode()
    def fit(self, tile_px: int, crops: int = 1) -> int:
        """Try a batch of blank tiles, and return how many fit into memory at once.

        So a GPU is warm, and the readers know the batch, before the first tile is read.
        """
        self._encode(torch.zeros(self.limit, crops, tile_px, tile_px, 3, dtype=torch.uint8))
        return self.limit

    def _gathered(
        self, batches: Iterable[tuple[Rows, NDArray[np.uint8]]]
    ) -> Iterator[tuple[Rows, Tensor]]:
        """Join batches until they are as many tiles as are encoded at once."""
        held: list[tuple[Rows, NDArray[np.uint8]]] = []
        count = 0
        for rows, tiles in batches:
            held.append((rows, tiles))
            count += len(rows)
            if count >= self.limit:
                yield self._joined(held)
                held, count = [], 0
        if held:
            yield self._joined(held)

    def _joined(self, held: list[tuple[Rows, NDArray[np.uint8]]]) -> tuple[Rows, Tensor]:
        rows = np.concatenate([rows for rows, _ in held])
        parts = [torch.from_numpy(tiles) for _, tiles in held]
        if len(parts) == 1 and not self._on_gpu:
            return rows, parts[0]
        joined = torch.empty(
            (len(rows), *parts[0].shape[1:]), dtype=torch.uint8, pin_memory=self._on_gpu
        )
        return rows, torch.cat(parts, out=joined)

    @torch.inference_mode()
    def _start(self, rows: Rows, tiles: Tensor) -> _Running:
        if not self._on_gpu:
            start = time.perf_counter()
            features = self._encode(tiles)
            self.busy_s += time.perf_counter() - start
            return _Running(rows, features, None, None)
        started, done = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        features = self._encode(tiles, started)
        features = features.to("cpu", non_blocking=True)
        done.record(torch.cuda.current_stream(self.device))
        return _Running(rows, features, started, done)

    def _finish(self, batch: _Running) -> tuple[Rows, NDArray[np.float32]]:
        if batch.done is not None:
            batch.done.synchronize()
            self.busy_s += batch.started.elapsed_time(batch.done) / 1000
        array: NDArray[np.float32] = batch.features.numpy()
        return batch.rows, array

    def _encode(self, tiles: Tensor, started: Any = None) -> Tensor:
        """Encode tiles (n, crops, px, px, 3), in pieces that fit; (n, features) on the device."""
        parts: list[Tensor] = []
        at = 0
        while at < len(tiles):
            piece = tiles[at : at + self.limit]
            try:
                parts.append(self._piece(piece, started if at == 0 else None))
            except torch.cuda.OutOfMemoryError as error:
                self._halve(len(piece), error)
                continue
            at += len(piece)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _piece(self, tiles: Tensor, started: Any) -> Tensor:
        sent = self._sent(self._padded(tiles))
        if started is not None:
            started.record(torch.cuda.current_stream(self.device))
        network = _compiled(self.encoder) if self._compile else self.encoder
        with encoder_precision(self.device, training=False):
            try:
                features: Tensor = network(sent.permute(0, 1, 4, 2, 3))
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as error:
                if not self._compile:
                    raise
                raise HypergeneError(
                    f"The image encoder cannot be compiled here: {first_line(error)}.",
                    hint="Leave --compile out.",
                ) from error
        return features[: len(tiles)]

    def _padded(self, tiles: Tensor) -> Tensor:
        """Add blank tiles, so that the size of a batch does not decide how it is computed.

        On a CPU only one tile alone is computed in another way than several, in its last bits. On
        a GPU, or compiled, every size may be.
        """
        least = self.limit if self._on_gpu or self._compile else 2
        if len(tiles) >= least:
            return tiles
        blank = tiles.new_zeros((least - len(tiles), *tiles.shape[1:]))
        padded = torch.cat([tiles, blank])
        return padded.pin_memory() if self._on_gpu else padded

    def _sent(self, tiles: Tensor) -> Tensor:
        """Copy tiles to the device, on a stream beside the one that computes."""
        if self._copies is None:
            return tiles
        with torch.cuda.stream(self._copies):
            sent = tiles.to(self.device, non_blocking=True)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._copies)
        sent.record_stream(computing)
        return sent

    def _halve(self, tiles: int, error: Exception) -> None:
        """Take half as many tiles at once from now on."""
        if tiles == 1:
            raise HypergeneError(
                f"The device {self.device} is out of memory with a single tile at once.",
                hint="Something else fills its memory: end that, or give another --device.",
            ) from error
        self.limit = tiles // 2
        log.warning(
            "The device %s is out of memory with %d tiles at once: going on with %d.",
            *(self.device, tiles, self.limit),
        )
        if self._on_gpu:
            torch.cuda.empty_cache()


@lru_cache(maxsize=1)
def _compiled(encoder: TileEncoder) -> Callable[[Tensor], Tensor]:
    """Compile an encoder once for all slides of a call."""
    compiled: Callable[[Tensor], Tensor] = torch.compile(encoder, dynamic=False)
    return compiled
