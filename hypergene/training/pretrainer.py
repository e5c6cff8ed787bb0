"""Self-supervision of an encoder: steps over dense tiles, until a budget is spent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from hypergene.errors import HypergeneError
from hypergene.features.device import encoder_precision
from hypergene.model.encoder import TileEncoder
from hypergene.training.augment import MARGIN, random_views
from hypergene.training.checkpoint import load_state, save_state
from hypergene.training.optimiser import rate_factor
from hypergene.training.recipe import Augmentation
from hypergene.training.self_supervised import Expander, barlow_twins

log = logging.getLogger(__name__)

Tiles = NDArray[np.uint8]
Row = dict[str, float | int | str]

_SAVE_EVERY_S = 60.0
_TICKS = 10_000
_TERMS = ("loss", "disagreement", "redundancy", "gradient_norm")
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class Budget(NamedTuple):
    """When self-supervision stops: after so many passes over the places, or minutes of training.

    Attributes
    ----------
    epochs
        Passes; the same ones give the same weights.
    minutes
        Wall time spent in steps, an earlier part of a resumed run included; it counts where it is
        given, and then the weights depend on how fast the machine is.
    """

    epochs: int = 30
    minutes: float | None = None


@dataclass(frozen=True)
class SelfSupervision:
    """How an encoder is trained on tiles alone.

    Attributes
    ----------
    groups, places
        A step sees `groups` times `places` places; those of a group are of one slide.
    view
        Width of the views, as a share of the crop's: they are parts of it, at its own scale.
    width
        Length of the embedding that carries the loss.
    redundancy
        Weight of the redundancy beside the disagreement.
    lr, weight_decay, warmup
        Of AdamW: peak rate, decay of weights that are matrices, share of the budget in which the
        rate rises.
    clip
        Largest gradient norm.
    max_bad_steps
        Steps in a row without a finite gradient after which the run gives up.
    augment
        How views differ.
    """

    groups: int = 4
    places: int = 32
    view: float = 0.64
    width: int = 512
    redundancy: float = 0.01
    lr: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip: float = 5.0
    max_bad_steps: int = 10
    augment: Augmentation = field(
        default_factory=lambda: Augmentation(rotate=True, scale=0.2, shift=0.0, stain=0.25)
    )


def draw_groups(
    counts: Sequence[int], places: int, rng: np.random.Generator
) -> list[tuple[int, NDArray[np.int64]]]:
    """Divide the places of all slides into groups of one slide each, in random order.

    Parameters
    ----------
    counts
        Places of each slide.
    places
        Places a group; a slide that has fewer repeats them, a remainder waits for the next pass.
    rng
        Source of randomness.

    Returns
    -------
    list of (int, (places,) int64)
        The slide and its rows; no row twice, unless its slide has too few.
    """
    groups = []
    for slide, count in enumerate(counts):
        rows = rng.permutation(count)
        rows = np.resize(rows, max(count, places))
        groups += [
            (slide, rows[start : start + places])
            for start in range(0, len(rows) - places + 1, places)
        ]
    order = rng.permutation(len(groups))
    return [groups[index] for index in order]


class Pretrainer:
    """Trains an encoder on tiles, with exact resume.

    Each step draws from generators of its own number, so nothing but weights, optimiser and the
    number of the step has to be kept to go on as if nothing had happened.

    Parameters
    ----------
    encoder
        Trained in place.
    tile_px
        Width of its crops, px.
    tiles
        One (n, crops, wide, wide, 3) uint8 a slide, `MARGIN` times wider than `tile_px`.
    settings, budget
        How, and for how long.
    device
        Where.
    seed
        Of the expander's weights, the order of places and the views.
    run
        What the run is; a checkpoint of another one is refused.
    checkpoint
        Where the state is kept, at most a minute apart.
    log_row
        Called with the means of each pass.
    """

    def __init__(
        self,
        encoder: TileEncoder,
        tile_px: int,
        tiles: Sequence[Tiles],
        settings: SelfSupervision,
        budget: Budget,
        *,
        device: torch.device,
        seed: int,
        run: str,
        checkpoint: Path,
        log_row: Callable[[Row], None],
    ) -> None:
        self.encoder, self.tiles = encoder.to(device), tiles
        self.settings, self.budget, self.device, self.seed = settings, budget, device, seed
        self.run, self.checkpoint, self.log_row = run, checkpoint, log_row
        self.view_px = _view_px(self.encoder, tile_px, settings.view)
        torch.manual_seed(seed)
        self.expander = Expander(encoder.features // encoder.crops, settings.width).to(device)
        self.parameters = [*encoder.parameters(), *self.expander.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.parameters if p.dim() > 1]},
            {"params": [p for p in self.parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(
            groups, lr=settings.lr, weight_decay=settings.weight_decay
        )
        self.step, self.seconds, self.bad_steps = 0, 0.0, 0
        self.sums, self.counted = torch.zeros(len(_TERMS), dtype=torch.float64), 0
        counts = [len(one) for one in tiles]
        drawn = draw_groups(counts, settings.places, np.random.default_rng(0))
        self.steps_a_pass = max(1, len(drawn) // settings.groups)
        self._counts = counts

    @property
    def epoch(self) -> int:
        """Passes over the places that are complete."""
        return self.step // self.steps_a_pass

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, 0..1."""
        if self.budget.minutes is not None:
            return min(1.0, self.seconds / (60 * self.budget.minutes))
        return min(1.0, self.step / (self.budget.epochs * self.steps_a_pass))

    def fit(self) -> None:
        """Train until the budget is spent, from the checkpoint if there is one.

        Raises
        ------
        HypergeneError
            The loss stays without a finite gradient, the device runs out of memory, or the
            checkpoint is damaged, of another run, or cannot be written.
        """
        self._restore()
        saved = time.monotonic()
        self.encoder.train()
        self.expander.train()
        with tqdm(total=_TICKS, desc="pretrain", bar_format=_BAR, disable=None) as bar:
            groups: list[tuple[int, NDArray[np.int64]]] = []
            drawn = -1
            while self.progress < 1:
                bar.update(int(_TICKS * self.progress) - bar.n)
                start = time.monotonic()
                if drawn != self.epoch:
                    rng = np.random.default_rng([self.seed, self.epoch])
                    groups = draw_groups(self._counts, self.settings.places, rng)
                    drawn = self.epoch
                at = self.step % self.steps_a_pass * self.settings.groups
                self._step(groups[at : at + self.settings.groups])
                self.seconds += time.monotonic() - start
                if self.step % self.steps_a_pass == 0:
                    self._close_pass(bar)
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    self._save()
                    saved = time.monotonic()
            bar.update(_TICKS - bar.n)
        if self.counted:
            self._close_pass(None)
        self._save()
        self.encoder.eval()

    def _step(self, groups: Sequence[tuple[int, NDArray[np.int64]]]) -> None:
        """Learn from two views of every place of some groups."""
        number = [self.seed, self.step, 1]
        rng = np.random.default_rng(number)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        torch.manual_seed(int(rng.integers(2**62)))  # networks may drop paths
        for group in self.optimiser.param_groups:
            factor = rate_factor(int(_TICKS * self.progress), _TICKS, self.settings.warmup)
            group["lr"] = self.settings.lr * factor
        try:
            first, second = (self._embed(groups, rng, generator) for _ in range(2))
            terms = barlow_twins(first, second)
            loss = terms.disagreement + self.settings.redundancy * terms.redundancy
            self.optimiser.zero_grad()
            loss.backward()
        except torch.cuda.OutOfMemoryError as error:
            raise HypergeneError(
                f"The device {self.device} is out of memory in self-supervision.",
                hint="Give --device cpu, or a smaller encoder.",
            ) from error
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        self.step += 1
        if not torch.isfinite(norm):
            self._skip(terms._asdict())
            return
        self.optimiser.step()
        self.bad_steps = 0
        values = (loss, *terms, norm)
        self.sums += torch.stack([value.detach().double() for value in values]).cpu()
        self.counted += 1

    def _embed(
        self,
        groups: Sequence[tuple[int, NDArray[np.int64]]],
        rng: np.random.Generator,
        generator: torch.Generator,
    ) -> Tensor:
        """Embed one random view of every place, (groups * crops, places, width)."""
        pixels = torch.from_numpy(self._windows(groups, rng)).to(self.device)
        views = random_views(
            pixels.permute(0, 1, 4, 2, 3), self.view_px, self.settings.augment, generator
        )
        with encoder_precision(self.device, training=True):
            vectors = self.encoder(views)
        crops = views.shape[1]
        embedded: Tensor = self.expander(vectors.float().unflatten(1, (crops, -1)).flatten(0, 1))
        by_crop = embedded.unflatten(0, (len(groups), self.settings.places, crops))
        return by_crop.transpose(1, 2).flatten(0, 1)

    def _windows(
        self, groups: Sequence[tuple[int, NDArray[np.int64]]], rng: np.random.Generator
    ) -> Tiles:
        """Cut a window out of the tiles of every place, (n, crops, window, window, 3)."""
        wide = self.tiles[0].shape[2]
        window = min(wide, int(np.ceil(self.view_px * MARGIN)))
        cut = [
            self.tiles[slide][row, :, y : y + window, x : x + window]
            for slide, rows in groups
            for row, (x, y) in zip(
                rows, rng.integers(wide - window + 1, size=(len(rows), 2)), strict=True
            )
        ]
        return np.stack(cut)

    def _skip(self, terms: dict[str, Tensor]) -> None:
        """Leave the weights alone after a step without finite gradient, but not for ever."""
        self.bad_steps += 1
        bad = [name for name, value in terms.items() if not torch.isfinite(value)]
        what = " and ".join(bad) or "gradient"
        log.warning("step %d: the %s is not finite; the step is skipped", self.step, what)
        if self.bad_steps >= self.settings.max_bad_steps:
            raise HypergeneError(
                f"Self-supervision stops at step {self.step}: the {what} was not finite "
                f"{self.bad_steps} steps in a row.",
                hint="Start anew with --no-resume and another --seed.",
            )

    def _close_pass(self, bar: tqdm | None) -> None:
        """Report the means of a pass."""
        means = (self.sums / max(1, self.counted)).tolist()
        begun = -(-self.step // self.steps_a_pass)
        row: Row = {"epoch": begun, "step": self.step}
        row |= {name: round(mean, 5) for name, mean in zip(_TERMS, means, strict=True)}
        row |= {"lr": self.optimiser.param_groups[0]["lr"], "seconds": round(self.seconds, 1)}
        self.log_row(row)
        if bar is not None:
            bar.set_postfix(epoch=self.epoch, loss=f"{means[0]:.2f}")
        self.sums.zero_()
        self.counted = 0

    def _save(self) -> None:
        save_state(
            self.checkpoint,
            {
                "run": self.run,
                "encoder": self.encoder.state_dict(),
                "expander": self.expander.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
                "sums": self.sums,
                "counted": self.counted,
                "bad_steps": self.bad_steps,
            },
        )

    def _restore(self) -> None:
        state = load_state(self.checkpoint, self.run)
        if state is None:
            return
        self.encoder.load_state_dict(state["encoder"])
        self.expander.load_state_dict(state["expander"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.sums, self.counted = state["sums"], state["counted"]
        self.bad_steps = state["bad_steps"]
        log.info("goes on at step %d, after %.0f s", self.step, self.seconds)


@torch.no_grad()
def _view_px(encoder: TileEncoder, tile_px: int, share: float) -> int:
    """Width of the views, px: the share asked for, or whole crops for a network of fixed size."""
    smaller = max(8, round(tile_px * share))
    device = next(encoder.parameters()).device
    try:
        encoder.eval()(torch.zeros(1, encoder.crops, 3, smaller, smaller, device=device))
    except Exception:  # each network refuses a size in its own way
        return tile_px
    return smaller
