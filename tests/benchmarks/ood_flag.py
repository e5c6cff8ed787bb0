"""Does the flag notice what it ought to, and does it tell errors? The tables of docs/ood-flag.md.

Asks a model about a section that it was not trained on, as it is and altered, at the measured
spots, and prints in turn: a table of what ``ood_score``, the slide card and the correlation with
what was measured make of each; how ``ood_score`` goes with error within the untouched section; and
what the card says of another slide. Altered slides are written to a temporary folder, never kept.

    python tests/benchmarks/ood_flag.py runs/held-out/C3-seed0 ../shared/data/her2st C3 --mpp 0.69 \
        --cache runs/cache --other ../shared/data/slides/CMU-1-Small-Region.svs

The first argument is what ``hypergene finetune --test C3`` wrote. A run of before distances of
held-out spots were kept is made whole from its checkpoint, as ``hypergene finetune`` does today.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from hypergene.evaluation import pearson_per_gene
from hypergene.evaluation.bootstrap import spot_blocks
from hypergene.features.cache import ArrayCache
from hypergene.model.network import HyperGene
from hypergene.pipeline.evaluation.own import OwnModel
from hypergene.pipeline.gene_choice import sets_to_score
from hypergene.pipeline.predict import predict
from hypergene.pipeline.slide_card import FAR, slide_card
from hypergene.slide import find_tissue
from hypergene.st import Sample, open_image, read_sample, read_samples
from hypergene.training.assess import EncodedSection, encode_sections, predict_section
from hypergene.training.expression import Measured, keep_measured
from hypergene.training.reliability import fit_reference, held_out_ratios, hold_out_reference
from hypergene.zoo import load_model
from hypergene.zoo.folder import write_model

Image.MAX_IMAGE_PIXELS = None
BLUR_UM = 4.0
# Optical density of haematoxylin, eosin and DAB per channel (Ruifrok and Johnston 2001).
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
STRIP = 512
MOST_VARIABLE, REPLICATES = 250, 500
CPU = torch.device("cpu")
Floats = NDArray[np.float64]


def as_ihc(image: Image.Image) -> Image.Image:
    """Turn eosin brown, as DAB is."""
    pixels = np.array(image)
    unit = STAINS / np.linalg.norm(STAINS, axis=1, keepdims=True)
    swapped = unit.copy()
    swapped[1] = unit[2]
    change = np.linalg.inv(unit) @ swapped
    for top in range(0, len(pixels), STRIP):
        density = -np.log((pixels[top : top + STRIP].astype(np.float32) + 1) / 256)
        recoloured = 256 * np.exp(-(density @ change)) - 1
        pixels[top : top + STRIP] = recoloured.clip(0, 255)
    return Image.fromarray(pixels)


def altered(image: Image.Image, mpp: float, folder: Path) -> dict[str, tuple[Path, float]]:
    """Write each alteration; name -> file and the resolution it is said to have."""
    makers: dict[str, Callable[[], Image.Image]] = {
        "IHC-like recolouring": lambda: as_ihc(image),
        f"blur, sigma {BLUR_UM:g} µm": lambda: image.filter(
            ImageFilter.GaussianBlur(BLUR_UM / mpp)
        ),
    }
    files: dict[str, tuple[Path, float]] = {}
    for number, (name, make) in enumerate(makers.items()):
        path = folder / f"{number}.jpg"
        make().save(path, quality=95)
        files[name] = path, mpp
    rough = folder / "rough.jpg"
    image.save(rough, quality=10)
    files["JPEG quality 10"] = rough, mpp
    return files


class Seen(NamedTuple):
    """What a model makes of a section: its slide's card, scores and predictions of its spots."""

    verdict: str
    reasons: list[str]
    fine_structure: float
    fine_structure_limit: float
    score: NDArray[np.float32]
    mean: NDArray[np.float32]


@dataclass(frozen=True)
class Asked:
    """A model, and the samples it is asked about."""

    own: OwnModel
    measured: dict[str, Measured]

    @classmethod
    def of(
        cls, run: Path, samples: dict[str, Sample], cache: ArrayCache, mpp: float, workers: int
    ) -> Asked:
        """Load the model of a run; make it whole if it keeps no distances of held-out spots."""
        model = load_model(run / "model")
        made = model.config.provenance
        wanted = [samples[name] for name in made.trained_on]
        own = OwnModel(model, CPU, cache, mpp, workers)
        asked = cls(
            own, {one.sample: keep_measured(one, read_sample(one), cache) for one in wanted}
        )
        if model.config.held_out is None or model.config.held_out.distances is None:
            asked.make_whole(run)
        return asked

    def encoded(self, model: HyperGene, names: Sequence[str]) -> list[EncodedSection]:
        """Look at training sections with a model."""
        sections = [self.own.section(self.measured[name]) for name in names]
        return encode_sections(model, sections, CPU)

    def make_whole(self, run: Path) -> None:
        """Fit the reference on the training sections, its percentiles on those that chose."""
        model, chosen = self.own.model, load_model(run / "model")
        file = run / "checkpoints" / "select.pt"
        state = torch.load(file, map_location="cpu", weights_only=True)
        chosen.load_state_dict(state["best_weights"], strict=False)
        chosen.eval()
        made = model.config.provenance
        trained = [name for name in made.trained_on if name not in made.validated_on]
        ratios = held_out_ratios(
            chosen, self.encoded(chosen, trained), self.encoded(chosen, made.validated_on)
        )
        fit_reference(model, self.encoded(model, made.trained_on))
        hold_out_reference(model, ratios, "patient" if made.validation == "patient" else "section")

    def see(self, measured: Measured, mpp: float) -> Seen:
        """Score and predict the measured spots of a section, and make its slide's card."""
        own = replace(self.own, mpp=mpp)
        model = own.model
        (encoded,) = encode_sections(model, [own.section(measured)], CPU)
        raw = torch.from_numpy(encoded.features + encoded.context.mean)
        score = model.reference(raw).numpy()
        spots = pd.DataFrame({"ood_score": score, "readable": True}, index=measured.obs.index)
        with open_image(measured.sample, measured, mpp=mpp) as slide:
            card, reasons = slide_card(slide, find_tissue(slide), spots, model)
        return Seen(
            str(card["verdict"]),
            reasons,
            card["fine_structure"],
            card["fine_structure_limit"],
            score,
            predict_section(model, encoded, CPU)[0],
        )


def partial_spearman(x: Floats, y: Floats, given: Floats) -> float:
    """Spearman's correlation with the ranks of a third thing partialled out."""
    a, b, c = (rankdata(values) - (len(values) + 1) / 2 for values in (x, y, given))
    a, b = a - c * (a @ c) / (c @ c), b - c * (b @ c) / (c @ c)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def error_table(
    measured: Measured, own: OwnModel, seen: Seen, expressed: NDArray[np.bool_]
) -> list[str]:
    """Say how the score goes with error over the spots of the untouched section."""
    section = own.section(measured)
    truth, known = section.expression.dense(), section.expression.measured
    variance = np.where(known, truth.var(axis=0), 0.0)
    top = np.argsort(-variance)[:MOST_VARIABLE]
    relative = (truth - seen.mean) ** 2 / np.where(variance > 0, variance, np.inf)
    error, depth = relative[:, top].mean(axis=1), section.log_depth
    blocks = spot_blocks(section.xy_um)
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(blocks == block) for block in range(blocks.max() + 1)]
    drawn = []
    for _ in range(REPLICATES):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        x, y, given = error[rows], seen.score[rows], depth[rows]
        drawn.append((spearman(x, y), partial_spearman(x, y, given)))
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    values = spearman(error, seen.score), partial_spearman(error, seen.score, depth)
    lines = [
        f"Rank correlation of ood_score with the squared error of the {MOST_VARIABLE} most "
        "variable genes, and with depth partialled out (95 % over 1 mm blocks):",
        *(
            f"- {name}: {value:+.2f} ({a:+.2f} to {b:+.2f})"
            for name, value, a, b in zip(
                ("as it is", "beyond depth"), values, low, high, strict=True
            )
        ),
    ]
    over = relative[:, expressed & (variance > 0)].mean(axis=1)
    flagged = seen.score >= FAR
    if flagged.any() and (~flagged).any():
        lines.append(
            "- error over all expressed genes, in variances: flagged "
            f"{over[flagged].mean():.2f}, others {over[~flagged].mean():.2f}"
        )
    return lines


def spearman(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Spearman's correlation."""
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def main() -> None:
    """Parse, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder that finetune --test SAMPLE wrote")
    parser.add_argument("samples", type=Path, help="samples sheet or folder")
    parser.add_argument("test", help="the sample that was held out")
    parser.add_argument("--mpp", type=float, required=True)
    parser.add_argument("--other", type=Path, help="a slide of other tissue")
    parser.add_argument("--cache", type=Path, required=True, help="tiles that runs may share")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    samples = {one.sample: one for one in read_samples(arguments.samples)}
    cache = ArrayCache(arguments.cache)
    asked = Asked.of(arguments.run, samples, cache, arguments.mpp, arguments.workers)
    own, names = asked.own, list(asked.measured)
    sets = sets_to_score(
        [own.section(asked.measured[name]).expression for name in names],
        list(own.model.config.genes),
    )
    genes = pd.Index(own.model.config.genes)
    at = {name: genes.get_indexer(pd.Index(members)) for name, members in sets.items()}
    expressed = np.isin(np.arange(len(genes)), at["expressed"])
    sample = samples[arguments.test]
    measured = keep_measured(sample, read_sample(sample), cache)
    truth = own.section(measured).expression.dense()
    assert sample.slide is not None

    print(f"{arguments.test} held out of {', '.join(names)}; model {arguments.run}\n")
    print("| slide | flagged | median | AUROC | fine structure | HVG-50 | HVG-250 | verdict |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    untouched: Seen | None = None
    reasons: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        with Image.open(sample.slide) as opened:
            image = opened.convert("RGB")
        cases = {
            "untouched": (sample.slide, arguments.mpp),
            **altered(image, arguments.mpp, Path(temporary)),
            "mpp said to be half": (sample.slide, arguments.mpp / 2),
            "mpp said to be double": (sample.slide, arguments.mpp * 2),
        }
        image.close()
        for name, (path, mpp) in cases.items():
            case = replace(measured, sample=replace(sample, slide=path))
            seen = asked.see(case, mpp)
            untouched = untouched or seen
            reasons[name] = seen.reasons
            found = np.nan_to_num(pearson_per_gene(truth, seen.mean))
            auroc = roc_auc_score(
                np.repeat([0, 1], len(measured)), np.concatenate([untouched.score, seen.score])
            )
            print(
                f"| {name} | {(seen.score >= FAR).mean():.0%} | {np.median(seen.score):.2f} "
                f"| {auroc:.3f} | {seen.fine_structure:+.1f} ({seen.fine_structure_limit:.2f}) "
                f"| {found[at['HVG-50']].mean():.3f} | {found[at['HVG-250']].mean():.3f} "
                f"| {seen.verdict} |",
                flush=True,
            )
    assert untouched is not None
    print("\n" + "\n".join(error_table(measured, own, untouched, expressed)), flush=True)
    if arguments.other is not None:
        with tempfile.TemporaryDirectory() as temporary:
            write_model(Path(temporary), own.model, "")
            table = predict(arguments.other, model=temporary, genes=("ACTB",), device="cpu")
        card = table.uns["hypergene"]["card"]
        reasons[arguments.other.name] = [str(text) for text in card["reasons"]]
        print(
            f"\n{arguments.other.name}: {card['ood_share']:.0%} of {table.n_obs:,} spots flagged, "
            f"dyes {card['stain_degrees']:.0f} degrees off (up to "
            f"{card['stain_limit_degrees']:.0f} usual), fine structure "
            f"{card['fine_structure']:+.1f} ({card['fine_structure_limit']:.2f}), verdict "
            f"{card['verdict']}"
        )
    print("\nWhat the cards say:")
    for name, said in reasons.items():
        print(f"- {name}: {' '.join(said) or 'nothing'}")


if __name__ == "__main__":
    main()
