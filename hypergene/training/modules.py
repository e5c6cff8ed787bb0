"""Gene modules: the few directions in which genes move together within slides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hypergene.training.expression import Expression, dense_blocks

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Read = Callable[[Expression], sparse.csr_matrix | Floats]

_SPARE = 10
_PASSES = 10


@dataclass(frozen=True, eq=False)
class ModuleFit:
    """Modules of training expression.

    Attributes
    ----------
    mean
        (genes,) float32, mean over slides of each slide's mean, log1p CP10k.
    loadings
        (modules, genes) float32: expression is ``slide mean + scores @ loadings``, with scores of
        unit variance over all training spots.
    residual_variance
        (genes,) float32, variance within slides that no module explains.
    """

    mean: Floats
    loadings: Floats
    residual_variance: Floats

    def scores(
        self, table: sparse.csr_matrix | Floats, measured: NDArray[np.bool_] | None = None
    ) -> Floats:
        """Standardised module scores (n, modules) of one slide's expression (n, genes).

        The slide's own mean is taken off, so neither depth nor batch of a slide is a score. Genes
        that are not `measured` (genes,) have no say.
        """
        loadings = self.loadings.astype(np.float64)
        if measured is not None:
            loadings = loadings * measured
        project = loadings.T @ np.linalg.pinv(loadings @ loadings.T, rcond=1e-9, hermitian=True)
        centre = _mean(table) @ project
        scores = np.concatenate([b @ project.astype(np.float32) for b in dense_blocks(table)])
        return np.asarray(scores - centre, dtype=np.float32)


def fit_modules(
    slides: Sequence[Expression],
    modules: int,
    *,
    read: Read | None = None,
    seed: int = 0,
) -> ModuleFit:
    """Fit modules by principal components of slide-centred expression.

    Block Krylov iteration (Musco and Musco 2015): every pass reads one slide after the other, so
    memory holds one slide and some hundred directions, whatever the size of the cohort. A gene that
    a slide did not measure moves nothing there; its loadings are fitted on the slides that did.

    Parameters
    ----------
    slides
        Expression of each slide.
    modules
        How many; fewer are fitted (and the rest left empty) when spots or genes are fewer.
    read
        How a slide's table (n, genes) is read: denoised tables go in here; None = its log. Mean
        and residual variance are always those of what was measured.
    seed
        Of the start of the iteration.
    """
    cohort = _Cohort(slides, read or _as_measured)
    # Denoised tables are too smooth, and may lie higher, than what will be measured again.
    measured = cohort if read is None else _Cohort(slides, _as_measured)
    genes = len(slides[0].measured)
    rank = min(modules, cohort.spots - 1, genes - 1)
    directions, variance = _leading(cohort, genes, rank, np.random.default_rng(seed))
    loadings = np.zeros((modules, genes), np.float32)
    loadings[:rank] = directions.T * np.sqrt(variance / cohort.spots)[:, None]
    mean = np.divide(
        measured.means.sum(0), measured.measured.sum(0), out=np.zeros(genes),
        where=measured.measured.any(0),
    ).astype(np.float32)  # fmt: skip
    if not cohort.measured.all():
        draft = ModuleFit(mean, loadings, np.ones(genes, np.float32))
        loadings = _refit(cohort, draft)
    residual = (measured.variance() - np.square(loadings).sum(0)).clip(1e-4)
    return ModuleFit(mean, loadings, residual.astype(np.float32))


def _as_measured(slide: Expression) -> sparse.csr_matrix:
    return slide.log()


class _Cohort:
    """Slide-centred tables, read one after the other."""

    def __init__(self, slides: Sequence[Expression], read: Read) -> None:
        self.slides, self.read = slides, read
        self.measured = np.stack([slide.measured for slide in slides])
        tables = [(table.shape[0], _mean(table)) for table in map(read, slides)]
        self.sizes = np.array([size for size, _ in tables])
        self.means = np.stack([mean for _, mean in tables]) * self.measured
        self.spots = int(self.sizes.sum())

    def blocks(self, slide: int) -> list[Floats] | map[Floats]:
        """Centred rows (b, genes) of one slide, block by block."""
        mean = self.means[slide].astype(np.float32)
        measured = self.measured[slide]
        table = self.read(self.slides[slide])
        if measured.all():
            return map(lambda block: block - mean, dense_blocks(table))
        return map(lambda block: (block - mean) * measured, dense_blocks(table))

    def covariance_times(self, directions: Doubles) -> Doubles:
        """Sum over spots of ``x x^T @ directions``, (genes, k)."""
        narrow = directions.astype(np.float32)
        total = np.zeros(directions.shape)
        for slide in range(len(self.slides)):
            for block in self.blocks(slide):
                total += block.T @ (block @ narrow)
        return total

    def variance(self) -> Doubles:
        """Variance within slides over the spots that measured a gene, (genes,)."""
        total = np.zeros(self.measured.shape[1])
        for slide in range(len(self.slides)):
            for block in self.blocks(slide):
                total += np.square(block, dtype=np.float64).sum(0)
        spots = self.sizes @ self.measured
        return np.divide(total, spots, out=np.zeros_like(total), where=spots > 0)


def _leading(
    cohort: _Cohort, genes: int, rank: int, rng: np.random.Generator
) -> tuple[Doubles, Doubles]:
    """Leading eigenvectors (genes, rank) and eigenvalues (rank,) of the covariance."""
    width = rank + _SPARE
    if genes <= width * _PASSES:
        basis = np.eye(genes)
        image = cohort.covariance_times(basis)
    else:
        blocks = [np.linalg.qr(rng.standard_normal((genes, width)))[0]]
        images = [cohort.covariance_times(blocks[0])]
        for _ in range(_PASSES - 1):
            block = images[-1]
            known = np.concatenate(blocks, axis=1)
            for _ in range(2):  # once leaves rounding errors along the known directions
                block = block - known @ (known.T @ block)
            blocks.append(np.linalg.qr(block)[0])
            images.append(cohort.covariance_times(blocks[-1]))
        basis, image = np.concatenate(blocks, axis=1), np.concatenate(images, axis=1)
    small = basis.T @ image
    values, vectors = np.linalg.eigh((small + small.T) / 2)
    largest = np.argsort(-values)[:rank]
    return basis @ vectors[:, largest], values[largest].clip(0)


def _refit(cohort: _Cohort, draft: ModuleFit) -> Floats:
    """Fit loadings by least squares on the scores of the slides that measured each gene."""
    products, squares = [], []
    for slide, expression in enumerate(cohort.slides):
        scores = draft.scores(cohort.read(expression), cohort.measured[slide]).astype(np.float64)
        squares.append(scores.T @ scores)
        start, product = 0, np.zeros(draft.loadings.shape)
        for block in cohort.blocks(slide):
            product += scores[start : start + len(block)].T @ block
            start += len(block)
        products.append(product)
    deviation = np.sqrt(np.sum(squares, axis=0).diagonal() / cohort.spots)
    loadings = np.zeros_like(draft.loadings)
    patterns, of = np.unique(cohort.measured, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        if pattern.any():
            genes = of.ravel() == number
            square = np.sum([squares[slide] for slide in np.flatnonzero(pattern)], axis=0)
            product = np.sum([products[s][:, genes] for s in np.flatnonzero(pattern)], axis=0)
            slope = np.linalg.pinv(square, rcond=1e-9, hermitian=True) @ product
            loadings[:, genes] = deviation[:, None] * slope
    return loadings


def _mean(table: sparse.csr_matrix | Floats) -> Doubles:
    """Mean over spots, (genes,)."""
    return np.asarray(table.mean(axis=0, dtype=np.float64), dtype=np.float64).ravel()
