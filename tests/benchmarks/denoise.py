"""What denoised training targets are worth on HER2ST, and how well completion predicts.

    python tests/benchmarks/denoise.py targets ../shared/data/her2st
    python tests/benchmarks/denoise.py hidden ../shared/data/her2st

``targets``: a closed-form predictor (ridge on colour and texture of each spot and its three rings,
penalty by leave-one-slide-out) learns targets of every kind and is scored on what was measured,
unsmoothed: on B4 (another patient; C4-C6 train) and on each of C4, C5, C6 (the other two train).
C3 is not touched. Differences to ``none`` come with the standard error of a bootstrap over blocks
of 1 mm. ``--head modules``: 50 module scores, as models of hypergene learn them; ``genes``: every
gene on its own.

``hidden``: a tenth of the entries of three sections is hidden and predicted after fitting on what
is left ("own"), and every entry of the third section after fitting on the other two ("new"). The
numbers are the share explained of the variance about the mean of gene and section.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage, sparse
from skimage.color import rgb2hed

from hypergene.evaluation import gene_sets
from hypergene.slide import open_slide, read_tiles
from hypergene.spots import rings
from hypergene.st import Sample, read_sample
from hypergene.training.completion import WIDTH, fit_completion
from hypergene.training.denoise import Denoiser, fit_denoiser
from hypergene.training.modules import fit_modules
from hypergene.training.readout import fit_ridge

MPP, PITCH_UM = 0.69, 200.0
RINGS_UM = (0.0, 1.25 * PITCH_UM, 2.25 * PITCH_UM, 3.25 * PITCH_UM)
KINDS: dict[str, dict] = {
    "none": {"kind": "none"},
    "modules 20": {"kind": "modules", "rank": 20},
    "modules 50": {"kind": "modules", "rank": 50},
    "modules 100": {"kind": "modules", "rank": 100},
    "neighbours .3": {"kind": "neighbours", "own": 0.3},
    "neighbours .5": {"kind": "neighbours", "own": 0.5},
    "neighbours .7": {"kind": "neighbours", "own": 0.7},
    "completion": {"kind": "completion"},
}
SETS = ("expressed", "HVG-50", "HVG-250")
RESAMPLES = 200


@dataclass
class Section:
    """One section: the genes asked for, dense since it is small."""

    name: str
    table: np.ndarray
    measured: np.ndarray
    xy_px: np.ndarray
    xy_um: np.ndarray
    log_depth: np.ndarray
    features: np.ndarray | None = None

    def log(self) -> sparse.csr_matrix:
        return sparse.csr_matrix(self.table)

    def neighbours(self) -> sparse.csr_matrix:
        near = self.ring(0)
        count = np.diff(near.indptr)
        own = sparse.diags_array(1 / (1 + count))
        return sparse.csr_matrix(own + sparse.diags_array(count / (1 + count)) @ near)

    def ring(self, number: int) -> sparse.csr_matrix:
        return rings(self.xy_um, self.xy_um, RINGS_UM)[number]


def read_sections(data: Path, names: list[str], chosen_on: list[str]) -> dict[str, Section]:
    """Read sections, on the genes detected in a tenth of the spots of some of them."""
    adatas = {}
    for name in names:
        counts = data / "ST-cnts" / f"{name}.tsv.gz"
        adatas[name] = read_sample(Sample(name, name[0], None, counts, "her2st", MPP, None))
    shared = sorted(set.intersection(*(set(adatas[name].var_names) for name in chosen_on)))
    pooled = sparse.vstack([adatas[name][:, shared].X for name in chosen_on])
    genes = gene_sets(pooled, shared)["expressed"]
    sections = {}
    for name, adata in adatas.items():
        columns = adata.var_names.get_indexer(genes)
        table = np.zeros((adata.n_obs, len(genes)), np.float32)
        table[:, columns >= 0] = adata.X[:, columns[columns >= 0]].toarray()
        xy_px = adata.obsm["spatial"]
        xy_um = xy_px / adata.uns["hypergene"]["pitch_px"] * PITCH_UM
        depth = np.log(adata.obs["total_counts"].to_numpy(float))
        sections[name] = Section(name, table, columns >= 0, xy_px, xy_um, depth)
    return sections


# Targets ------------------------------------------------------------------------------------------


def hand_made(tile: np.ndarray) -> np.ndarray:
    """Colour and texture of one tile, uint8 (px, px, 3)."""
    stains = np.moveaxis(rgb2hed(tile), -1, 0)[:2]
    rgb = np.moveaxis(tile / 255.0, -1, 0)
    found = [[c.mean(), c.std(), *np.quantile(c, (0.1, 0.5, 0.9))] for c in (*rgb, *stains)]
    for stain in stains:
        for sigma in (1, 2, 4):
            slope = ndimage.gaussian_gradient_magnitude(stain, sigma)
            blob = ndimage.gaussian_laplace(stain, sigma)
            found.append([slope.mean(), slope.std(), blob.std(), np.abs(blob).mean()])
    return np.concatenate(found)


def add_features(data: Path, section: Section) -> None:
    """Features of spot and rings, standardised within the section (image only)."""
    picture = next((data / "ST-imgs" / section.name[0] / section.name).glob("*.jpg"))
    with open_slide(picture, mpp=MPP) as slide:
        parts = []
        for width_um in (112.0, 300.0):
            own = np.zeros((len(section.xy_px), 49))
            for rows, tiles in read_tiles(slide, section.xy_px, width_um=width_um, size_px=64):
                own[rows] = [hand_made(tile) for tile in tiles]
            parts.append(own)
    own = np.concatenate(parts, axis=1)
    own = (own - own.mean(0)) / (own.std(0) + 1e-6)
    around = [section.ring(number) @ own for number in range(3)]
    section.features = np.concatenate([own, *around], axis=1).astype(np.float32)


def predict(
    train: list[Section], test: Section, denoiser: Denoiser, head: str, components: int = 60
) -> np.ndarray:
    """Deviation from the slide's mean, (n, genes), learnt from denoised targets."""
    pooled = np.concatenate([s.features - s.features.mean(0) for s in train])
    axes = np.linalg.svd(pooled, full_matrices=False)[2][:components].T
    groups = np.repeat(np.arange(len(train)), [len(s.table) for s in train])
    tables = {section.name: denoiser(section) for section in train}
    if head == "genes":
        targets = [table - table.mean(0) for table in tables.values()]
    else:
        fit = fit_modules(train, 50, read=lambda section: tables[section.name])
        targets = [fit.scores(table) for table in tables.values()]
    weight = fit_ridge(pooled @ axes, np.concatenate(targets).astype(np.float32), groups)
    found = (test.features - test.features.mean(0)) @ axes @ weight
    return found if head == "genes" else found @ fit.loadings


def resampled_pearson(section: Section, prediction: np.ndarray) -> np.ndarray:
    """Pearson of each gene, (1 + RESAMPLES, 2, genes): all spots first, then blocks resampled.

    The second of each pair has the log depth partialled out.
    """
    block = np.unique(section.xy_um // 1000.0, axis=0, return_inverse=True)[1].ravel()
    rng = np.random.default_rng(0)
    drawn = rng.integers(block.max() + 1, size=(RESAMPLES, block.max() + 1))
    weight = np.stack([np.bincount(row, minlength=block.max() + 1)[block] for row in drawn])
    weight = np.concatenate([np.ones((1, len(block))), weight])
    weight = weight / weight.sum(1, keepdims=True)
    depth = section.log_depth[:, None]
    truth = section.table.astype(np.float64)

    def moment(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return weight @ (a * b) - (weight @ a) * (weight @ b)

    tt, pp, tp = moment(truth, truth), moment(prediction, prediction), moment(truth, prediction)
    td, pd, dd = moment(truth, depth), moment(prediction, depth), moment(depth, depth)
    pairs = ((tp, tt, pp), (tp - td * pd / dd, tt - td * td / dd, pp - pd * pd / dd))
    return np.stack([c / np.sqrt((a * b).clip(1e-12)) * (a > 1e-9) for c, a, b in pairs], axis=1)


def targets(data: Path, head: str, seeds: int) -> None:
    """Print the table of what each kind of target is worth."""
    names = ["B4", "C4", "C5", "C6"]
    sections = read_sections(data, names, names[1:])
    for section in sections.values():
        add_features(data, section)
    tests = {name: [n for n in names[1:] if n != name] for name in names}
    found: dict[str, dict[str, np.ndarray]] = {}
    for test, train_names in tests.items():
        train = [sections[name] for name in train_names]
        sets = gene_sets(np.concatenate([s.table for s in train]), range(len(train[0].measured)))
        for kind, options in KINDS.items():
            scores = []
            for seed in range(seeds if kind == "completion" else 1):
                denoiser = fit_denoiser(sections=train, seed=seed, **options)
                r = resampled_pearson(
                    sections[test], predict(train, sections[test], denoiser, head)
                )
                scores.append(np.stack([r[:, :, sets[name]].mean(-1) for name in SETS], axis=-1))
            found.setdefault(kind, {})[test] = np.stack(scores)
    print(f"\nhead: {head}. Pearson, difference to none (standard error); beyond depth: difference")
    for title, places in (("B4", ["B4"]), ("C4-C6, each left out", names[1:])):
        print(f"\n{title}: " + " | ".join(SETS) + " | beyond depth")
        base = np.mean([found["none"][p][0] for p in places], axis=0)
        for kind in KINDS:
            per_seed = np.mean([found[kind][p] for p in places], axis=0)
            print(f"{kind:14s} " + " | ".join(_cells(per_seed, base)), flush=True)


def _cells(per_seed: np.ndarray, base: np.ndarray) -> Iterator[str]:
    """Cells of a row from (seeds, 1 + RESAMPLES, 2, sets) and the same of ``none``, one seed."""
    now = per_seed.mean(0)
    change = now - base
    for which in range(len(SETS)):
        se = change[1:, 0, which].std()
        cell = f"{now[0, 0, which]:.3f} {change[0, 0, which]:+.4f} ({se:.4f})"
        if len(per_seed) > 1:
            cell += f" seeds ±{per_seed[:, 0, 0, which].std(ddof=1):.4f}"
        yield cell
    yield " ".join(f"{v:+.4f}" for v in change[0, 1])


# Hidden entries -----------------------------------------------------------------------------------


def hidden(data: Path, cohorts: list[list[str]], seed: int = 0) -> None:
    """Print how much of the variance of hidden entries each way to predict them explains."""
    for names in cohorts:
        sections = list(read_sections(data, names, names).values())
        rng = np.random.default_rng(seed)
        masks = [rng.random(s.table.shape) < 0.1 for s in sections]
        means = [
            np.where(m, 0, s.table).sum(0) / (~m).sum(0)
            for s, m in zip(sections, masks, strict=True)
        ]
        seen = [
            replace(s, table=np.where(m, mean, s.table).astype(np.float32))
            for s, m, mean in zip(sections, masks, means, strict=True)
        ]
        left, wanted = sections[-1], np.ones(sections[-1].table.shape, bool)
        others = (left.table.sum(0) - left.table) / (len(left.table) - 1)
        print(f"\n{', '.join(names)}: own | new")
        for name, way in WAYS.items():
            start = time.perf_counter()
            fitted = way(seen)
            guesses = [fitted(s, mean) for s, mean in zip(seen, means, strict=True)]
            own = _explained(sections, guesses, means, masks)
            new = _explained([left], [way(sections[:-1])(left, others)], [others], [wanted])
            print(f"{name:14s} {own:+.4f} | {new:+.4f}  {time.perf_counter() - start:.0f} s")


def by_zero(train: list[Section]) -> Callable:
    return lambda section, mean: np.zeros_like(section.table)


def by_gene(train: list[Section]) -> Callable:
    level = np.mean([section.table.mean(0) for section in train], axis=0)
    return lambda section, mean: np.broadcast_to(level, section.table.shape)


def by_section(train: list[Section]) -> Callable:
    return lambda section, mean: np.broadcast_to(mean, section.table.shape)


def by_neighbours(train: list[Section]) -> Callable:
    def predict(section: Section, mean: np.ndarray) -> np.ndarray:
        near = section.ring(0)
        return np.where(np.diff(near.indptr)[:, None] > 0, near @ section.table, mean)

    return predict


def by_modules(train: list[Section], rank: int) -> Callable:
    """Reconstruct each quarter of the genes from module scores of the other three quarters."""
    loadings = fit_modules(train, rank).loadings
    hand = np.random.default_rng(1).permutation(loadings.shape[1]) % 4

    def predict(section: Section, mean: np.ndarray) -> np.ndarray:
        level = section.table.mean(0)
        found = np.empty_like(section.table)
        for number in range(4):
            seen = hand != number
            scores = (section.table - level)[:, seen] @ np.linalg.pinv(loadings[:, seen])
            found[:, ~seen] = level[~seen] + scores @ loadings[:, ~seen]
        return found

    return predict


def by_completion(train: list[Section]) -> Callable:
    fitted = fit_completion(train, fit_modules(train, WIDTH), seed=0)
    return lambda section, mean: fitted.predict(section)


WAYS = {
    "zero": by_zero,
    "gene mean": by_gene,
    "section mean": by_section,
    "neighbours": by_neighbours,
    **{f"modules {rank}": partial(by_modules, rank=rank) for rank in (5, 10, 20, 50)},
    "completion": by_completion,
}


def _explained(sections: list, guesses: list, means: list, masks: list) -> float:
    error = total = 0.0
    for section, guess, mean, mask in zip(sections, guesses, means, masks, strict=True):
        error += np.square(section.table - guess)[mask].sum(dtype=float)
        total += np.square(section.table - mean)[mask].sum(dtype=float)
    return 1 - error / total


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("targets", "hidden"))
    parser.add_argument("data", type=Path, help="the HER2ST folder")
    parser.add_argument("--head", choices=("modules", "genes"), default="modules")
    parser.add_argument("--seeds", type=int, default=3, help="of completion")
    parser.add_argument("--cohorts", nargs="+", default=["C4,C5,C6", "D1,D2,D3", "G1,G2,G3"])
    options = parser.parse_args()
    if options.what == "targets":
        targets(options.data, options.head, options.seeds)
    else:
        hidden(options.data, [names.split(",") for names in options.cohorts])


if __name__ == "__main__":
    main()
