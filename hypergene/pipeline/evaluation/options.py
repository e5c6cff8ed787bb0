"""What an evaluation is asked for, and what makes no sense to ask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hypergene.errors import DataError, UsageError
from hypergene.evaluation.bootstrap import REPLICATES
from hypergene.evaluation.protocols import PROTOCOLS, ProtocolName
from hypergene.pipeline.evaluation.others import Units
from hypergene.pipeline.evaluation.published import HER2ST_RULE
from hypergene.pipeline.options import as_tuple


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of :func:`hypergene.pipeline.evaluate.evaluate`, named as on the command line.

    Attributes
    ----------
    model
        Name or folder of a model to score.
    predictions
        Another tool's output instead: .h5ad, .zarr, .csv, .tsv, or a folder of them.
    cv
        Cross-validate a recipe instead: leave out one ``patient`` at a time, or one ``section``.
    preset, recipe, set
        The recipe that is cross-validated, as of ``hypergene finetune``; None = its default preset.
    seeds
        How many models a fold is given, of the seeds `seed`, `seed` + 1, ...
    units
        Of that output: ``log1p-cp10k``, ``counts``, or ``other`` (only correlations are reported);
        None = as the file says, else ``other``.
    layer
        Layer of an AnnData that holds it; None = ``X``.
    train
        What was trained on: a sheet or folder, or names of some samples, with commas. Gene sets and
        controls come from there.
    only
        Names of the samples to score; none = all that are not named in `train`. With `cv`, folds
        that hold none of them out are left out.
    genes
        Genes to draw as maps; None = the four most variable of the smallest gene set.
    genes_list
        Score these genes instead of the protocol's gene sets: a file with one gene a line, or
        ``her2st-rule``, see :mod:`hypergene.pipeline.evaluation.published`.
    protocol
        Score by a published protocol, ``hest-bench`` or ``triplex``, whose figures are labelled.
    gene_sets
        A .gmt file: sets whose means are scored at each scale.
    labels
        A table of labels: sample, label; or sample, spot, label.
    replicates
        Of every bootstrap.
    mpp
        Microns per pixel of slides for which neither sheet nor file says it.
    seed
        Of bootstraps, folds and permutations, and of the first model with `cv`.
    device
        ``auto``, ``cpu`` or ``cuda``.
    workers
        Threads that read tiles.
    cache
        Folder of features and tables that runs may share; None = ``cache/`` in the output folder.
    overwrite
        Replace an evaluation that exists.
    """

    model: str | None = None
    predictions: Path | None = None
    cv: Literal["patient", "section"] | None = None
    preset: str | None = None
    recipe: Path | None = None
    set: tuple[str, ...] = ()
    seeds: int = 3
    units: Units | None = None
    layer: str | None = None
    train: str | Path | None = None
    only: tuple[str, ...] = ()
    genes: tuple[str, ...] | None = None
    genes_list: str | None = None
    protocol: ProtocolName | None = None
    gene_sets: Path | None = None
    labels: Path | None = None
    replicates: int = REPLICATES
    mpp: float | None = None
    seed: int = 0
    device: str = "auto"
    workers: int = 2
    cache: Path | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Take names as any sequence of texts, or one."""
        object.__setattr__(self, "only", as_tuple(self.only))
        object.__setattr__(self, "set", as_tuple(self.set))
        if self.genes is not None:
            object.__setattr__(self, "genes", as_tuple(self.genes))


def check_options(options: EvaluateOptions) -> None:
    """Refuse what makes no sense, before anything is read.

    Raises
    ------
    UsageError
        Options that contradict each other, or lack one another.
    DataError
        There are no such predictions.
    """
    _check_published(options)
    if options.cv is not None:
        _check_cv(options)
        return
    if options.preset is not None or options.recipe is not None or options.set:
        raise UsageError(
            "A recipe is trained to be evaluated, and nothing says what to hold out.",
            hint="Give --cv patient, or --cv section.",
        )
    if (options.model is None) == (options.predictions is None):
        raise UsageError(
            "Neither a model nor predictions are given."
            if options.model is None
            else "Both a model and predictions are given.",
            hint="Give either --model M, --predictions FILE, or --cv patient to train models.",
        )
    if options.model is not None and (options.units or options.layer):
        raise UsageError(
            "--units and --layer say how another tool's --predictions are to be read.",
            hint="Leave them out: a model's own units are known.",
        )
    if options.predictions is not None and options.labels is not None:
        raise UsageError(
            "--labels need a model's embedding, which another tool's predictions do not hold.",
            hint="Leave --labels out, or score a model with --model.",
        )
    if options.predictions is not None and not Path(options.predictions).exists():
        raise DataError(
            f"There is no file {options.predictions}.",
            hint="Check the path given to --predictions.",
        )
    _check_replicates(options)


def _check_cv(options: EvaluateOptions) -> None:
    # Labels are read off one embedding, and folds have one each.
    for flag in ("model", "predictions", "units", "layer", "train", "labels"):
        if getattr(options, flag) is not None:
            raise UsageError(
                f"--cv trains a model a fold, and has no use for --{flag}.",
                hint=f"Leave --{flag} or --cv out.",
            )
    if options.seeds < 1:
        raise UsageError("A fold needs at least one seed.", hint="Try --seeds 3.")
    _check_replicates(options)


def _check_published(options: EvaluateOptions) -> None:
    if options.protocol is not None and options.protocol not in PROTOCOLS:
        raise UsageError(
            f"There is no published protocol {options.protocol!r}.",
            hint=f"Known are {', '.join(PROTOCOLS)}.",
        )
    for flag in ("gene_sets", "labels"):
        if options.protocol is not None and getattr(options, flag) is not None:
            said = f"--{flag.replace('_', '-')}"
            raise UsageError(
                f"A published protocol has no use for {said}.",
                hint=f"Leave out {said} or --protocol: scales and embeddings are hypergene's own.",
            )
    listed = options.genes_list
    if listed is not None and listed != HER2ST_RULE and not Path(listed).is_file():
        raise UsageError(
            f"There is no gene list {listed}.",
            hint=f"Give a file with one gene a line, or {HER2ST_RULE} (the rule of the published "
            "785 genes of HER2ST; the list itself cannot be derived from what is published).",
        )


def _check_replicates(options: EvaluateOptions) -> None:
    if options.replicates < 2:
        raise UsageError("A bootstrap needs at least 2 replicates.", hint="Try --replicates 500.")
