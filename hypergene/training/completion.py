"""Completion: what an entry is expected to be, from the rest of its spot and the spots around it.

A small transformer in the sense of SpaCKLE (Mejia, Ruiz et al. 2024, arXiv 2407.13027: a spot and
its neighbours are tokens, entries are masked, the masked are predicted), written from that idea.
It differs in what a zero is. There, zeros are missing, and only entries with a count are masked and
learnt. But the value of an entry with a count mostly tells the depth of its spot: of the variance
within HER2ST C4 and C6 of such entries, the mean of the gene plus the mean of the spot explain 0.30
and 0.24, a transformer 0.34 and 0.25; filled in for zeros, such values would say that every gene is
everywhere. Here a zero is a measurement, and what is predicted is the expectation.

The transformer is kept too small to learn its sections by heart: tokens are the scores of `WIDTH`
gene modules, what comes out are scores, too, and it starts from what modules alone can say. Of the
variance within slides of entries of its own sections that were hidden from it, it explains 0.084 on
HER2ST C4-C6 (with 64 modules 0.073, started from scores halved 0.066); five modules 0.086, ten
0.072, the mean of the neighbours -0.19. So it finds what the best number of modules finds, and the
neighbours add next to nothing to the rest of a spot (``tests/benchmarks/denoise.py hidden``).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn
from tqdm import tqdm

from hypergene.training.expression import Expression
from hypergene.training.modules import ModuleFit

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

WIDTH = 16
"""Modules in a token."""
NEIGHBOURS = 8
"""Most spots of the first ring that a spot looks at."""
HANDS = 4
"""The genes are dealt into so many hands; one hand of a spot is hidden at a time."""
EPOCHS = 10
"""How often each section is read; more overfits (30: 0.079 for the 0.084 above)."""
SPOTS_PER_EPOCH = 10_000
"""At most about so many spots are learnt from in an epoch: time does not grow with the cohort."""

_BATCH = 64
_ROWS = 256
_LEARNING_RATE = 1e-3
_LEAST_SHARE = 0.05


class Network(nn.Module):
    """Module scores of a spot and of its neighbours in, expected scores of the spot out.

    At first nothing is mixed and each score is shrunk by :func:`trust`; so the network starts as
    what modules alone can say.

    Parameters
    ----------
    modules
        `WIDTH` gene modules of the training sections; their loadings stay as they are.
    spots
        How many spots they were fitted on.
    """

    def __init__(self, modules: ModuleFit, spots: int) -> None:
        super().__init__()
        self.loadings = torch.from_numpy(modules.loadings)
        self.own = nn.Parameter(0.02 * torch.randn(WIDTH))
        self.mix = nn.TransformerEncoderLayer(
            WIDTH, 4, 2 * WIDTH, 0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.shrink = nn.Linear(WIDTH, WIDTH)
        with torch.no_grad():
            self.mix.linear2.weight.zero_()
            self.mix.self_attn.out_proj.weight.zero_()
            self.shrink.weight.copy_(torch.diag(torch.from_numpy(trust(modules, spots))))
            self.shrink.bias.zero_()

    def forward(self, spot: Tensor, around: Tensor, missing: Tensor) -> Tensor:
        """Return the scores expected of each spot, (b, modules).

        Parameters
        ----------
        spot
            (b, modules), scores from the part of the spot that is not hidden.
        around
            (b, k, modules), scores of its neighbours.
        missing
            bool (b, k), where there is no such neighbour.
        """
        tokens = torch.cat([(spot + self.own)[:, None], around], dim=1)
        masked = torch.cat([missing.new_zeros(len(missing), 1), missing], dim=1)
        expected: Tensor = self.shrink(self.mix(tokens, src_key_padding_mask=masked)[:, 0])
        return expected


def trust(modules: ModuleFit, spots: int) -> Floats:
    """Share of a module's variance in its own training data that is signal along it.

    Spiked covariance model (Paul 2007; Benaych-Georges and Nadakuditi 2011): with g = genes /
    spots, noise variance s, a module of true variance l is found with variance
    ``v = (l + s)(1 + g s / l)``, at a squared cosine ``(1 - g s^2 / l^2) / (1 + g s / l)`` to the
    true one; the share is cosine^2 l / v, 0 for what noise alone would give.

    Parameters
    ----------
    modules
        Fitted on `spots` spots.
    spots
        At least 1.

    Returns
    -------
    ndarray
        (modules,) float32, 0..1.
    """
    found = np.square(modules.loadings, dtype=np.float64).sum(1)
    noise = float(modules.residual_variance.mean())
    aspect = modules.loadings.shape[1] / spots
    twice = found - noise * (1 + aspect)
    root = np.square(twice) - 4 * aspect * noise**2
    is_signal = (root > 0) & (twice > 0)
    true = np.where(is_signal, (twice + np.sqrt(root.clip(0))) / 2, 1.0)
    cosine = (1 - aspect * noise**2 / true**2) / (1 + aspect * noise / true)
    share = np.divide(cosine * true, found, out=np.zeros_like(found), where=is_signal)
    return share.clip(0, 1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Completion:
    """A fitted completion model.

    Attributes
    ----------
    network
        In evaluation mode.
    seed
        Of the hands that genes are dealt into.
    """

    network: Network
    seed: int

    @torch.no_grad()
    def predict(self, section: Expression) -> Floats:
        """Predict each entry of a section from what is left when its hand is hidden.

        Parameters
        ----------
        section
            Any section of the genes the model was fitted on; its neighbours are its own spots.

        Returns
        -------
        ndarray
            (n, genes) float32, expected log1p CP10k, not below 0; 0 for genes that the section did
            not measure.
        """
        view = _View(section, self.network, torch.Generator().manual_seed(self.seed))
        expected = np.empty((len(view.near), len(view.mean)), np.float32)
        for rows in torch.arange(len(expected)).split(_ROWS):
            expected[rows.numpy()] = view.expected(rows).clamp(min=0).numpy()
        return expected


def fit_completion(
    sections: Sequence[Expression], modules: ModuleFit, *, seed: int, epochs: int = EPOCHS
) -> Completion:
    """Learn to predict the hidden part of a spot from the rest of it and from its neighbours.

    Memory holds one section and the network. The state of torch's random numbers is left as it was.

    Parameters
    ----------
    sections
        Training sections.
    modules
        `WIDTH` modules of the same sections.
    seed
        The same seed gives the same network, on the CPU, where this runs.
    epochs
        How often each section is read.
    """
    sizes = [section.neighbours().shape[0] for section in sections]
    share = min(1.0, SPOTS_PER_EPOCH / sum(sizes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(modules, sum(sizes)).train()
        optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE)
        for epoch in tqdm(range(epochs), desc="completion", unit="epoch", disable=None):
            optimizer.param_groups[0]["lr"] = _LEARNING_RATE * _half_cosine(epoch / epochs)
            visits = [
                _visit(sections[number], network, optimizer, math.ceil(share * sizes[number]))
                for number in torch.randperm(len(sections)).tolist()
            ]
            log.info("completion, epoch %d: squared error %.4f", epoch + 1, np.mean(visits))
    return Completion(network.eval().requires_grad_(False), seed)


def _visit(
    section: Expression, network: Network, optimizer: torch.optim.Optimizer, spots: int
) -> float:
    """Learn from some spots of a section; return their mean squared error."""
    view = _View(section, network)
    total = 0.0
    for rows in torch.randperm(len(view.near))[:spots].split(_BATCH):
        loss = view.error(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(rows)
    return total / spots


class _View:
    """One section with its genes dealt into hands, each of which can be hidden.

    Whatever is as long as the genes is read once, block by block; what the network reads, and its
    error, are made of the products of expression and loadings, hand by hand.
    """

    def __init__(
        self, section: Expression, network: Network, generator: torch.Generator | None = None
    ) -> None:
        self.network, loadings = network, network.loadings
        table = section.log()
        mean = np.asarray(table.mean(axis=0, dtype=np.float64)).ravel()
        self.mean = torch.from_numpy(np.where(section.measured, mean, 0).astype(np.float32))
        self.measured = torch.from_numpy(section.measured.astype(np.float32))
        self.near = torch.from_numpy(first_ring(section.neighbours()))
        hand_of = torch.randperm(len(self.mean), generator=generator) % HANDS
        self.hands = [torch.nonzero(hand_of == hand).ravel() for hand in range(HANDS)]
        of_hand = nn.functional.one_hot(hand_of, HANDS).T * self.measured  # (hands, genes)
        by_hand = of_hand[:, None] * loadings  # (hands, modules, genes)
        self.gram = by_hand @ loadings.T  # (hands, modules, modules)
        squares, products = [], []
        for rows in torch.arange(table.shape[0]).split(_ROWS):
            centred = torch.from_numpy(table[rows.numpy()].toarray()) - self.mean
            squares.append(centred.square().sum(1))
            products.append(centred @ by_hand.flatten(0, 1).T)
        self.squares = torch.cat(squares)  # (n,)
        self.products = torch.cat(products).unflatten(1, (HANDS, WIDTH))  # (n, hands, modules)
        # What a module says is scaled up by the share of it that is to be seen.
        energy = loadings.square().sum(1).clamp(min=1e-12)
        parts = self.products / energy
        seen = self.gram.diagonal(dim1=1, dim2=2) / energy  # (hands, modules)
        self.whole = parts.sum(1) / seen.sum(0).clamp(min=_LEAST_SHARE)
        rest = (seen.sum(0) - seen).clamp(min=_LEAST_SHARE)
        self.without = (parts.sum(1, keepdim=True) - parts) / rest

    def scores(self, rows: Tensor) -> Tensor:
        """Scores expected of some spots with each hand hidden, (b, hands, modules)."""
        near = self.near[rows]
        scores: Tensor = self.network(
            self.without[rows].flatten(0, 1),
            self.whole[near.clamp(min=0)].repeat_interleave(HANDS, 0),
            (near < 0).repeat_interleave(HANDS, 0),
        )
        return scores.unflatten(0, (len(rows), HANDS))

    def expected(self, rows: Tensor) -> Tensor:
        """Expression expected of some spots, each entry while hidden, (b, genes)."""
        deviation, scores = torch.empty(len(rows), len(self.mean)), self.scores(rows)
        for number, hand in enumerate(self.hands):
            deviation[:, hand] = scores[:, number] @ self.network.loadings[:, hand]
        return (deviation + self.mean) * self.measured

    def error(self, rows: Tensor) -> Tensor:
        """Mean squared error of all entries measured, each predicted while hidden.

        ``|x - s L|^2 = |x|^2 - 2 s.(L x) + s (L L') s'``, so that no step touches the genes.
        """
        scores = self.scores(rows)
        fitted = torch.einsum("bhm,hmk,bhk->", scores, self.gram, scores)
        told = (scores * self.products[rows]).sum()
        squared = self.squares[rows].sum() - 2 * told + fitted
        return squared / (len(rows) * self.measured.sum()).clamp(min=1)


def first_ring(neighbours: sparse.csr_matrix) -> NDArray[np.int64]:
    """List the neighbours of each spot, (n, `NEIGHBOURS`) int64, -1 where there are fewer.

    Parameters
    ----------
    neighbours
        (n, n), averages a spot and its neighbours; the spot itself is left out.
    """
    pairs = neighbours.tocoo()
    is_other = (pairs.row != pairs.col) & (pairs.data > 0)
    row, column = pairs.row[is_other], pairs.col[is_other]
    order = np.lexsort((column, row))
    row, column = row[order], column[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    near = np.full((neighbours.shape[0], NEIGHBOURS), -1, np.int64)
    kept = place < NEIGHBOURS
    near[row[kept], place[kept]] = column[kept]
    return near


def _half_cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))
