"""Run the pre-registered claim, or write down what came of it (docs/claim.md).

    python -m tests.benchmarks.claim ../shared/data/her2st --encoders ENCODERS --out runs/claim
    python -m tests.benchmarks.claim ../shared/data/her2st --encoders ENCODERS --out runs/claim \
        --write docs/claim.md

ENCODERS holds one frozen encoder a fold, NAME.safetensors (`hypergene pretrain` makes them), which
never saw the pixels of the fold's test sections: without-C3, without-C4, without-C5, without-C6,
without-B4, only-B4, and simulation. A fold whose encoder is not there yet is left for later.

Every run adds its rows to OUT/results.csv; a call that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from hypergene.evaluation import Prediction, score_prediction

from .arms import TRAINED
from .fit import closed_forms, fit
from .plan import FOLDS, SECTIONS, SIMULATED, Job, jobs
from .report import write
from .results import Results, Score
from .sections import Source, Task, task_of
from .simulation import World, simulate

PARTS = ("real", "dose", "simulation")
REPLICATES = {"real": 500, "dose": 500, "simulation": 200}


class Runner:
    """Runs jobs; tasks that follow one another are prepared once."""

    def __init__(self, data: Path, encoders: Path, cache: Path) -> None:
        self.data, self.encoders, self.cache = data, encoders, cache
        self.recipe = TRAINED[0].recipe(1, 16)
        self.task = lru_cache(maxsize=1)(self._task)
        self.world = lru_cache(maxsize=1)(self._world)
        self.source = lru_cache(maxsize=1)(lambda: Source.read(data, SECTIONS, cache))

    def encoder(self, job: Job) -> Path:
        """File of a job's encoder."""
        name = SIMULATED if job.part == "simulation" else job.task
        return self.encoders / f"{name}.safetensors"

    def _task(self, part: str, name: str, dose: float, weights: Path) -> Task:
        if part == "simulation":
            return self.world(weights).task(name)
        fold = next(fold for fold in FOLDS if fold.name == name)
        return task_of(self.source(), name, fold.train, fold.test, self.recipe, weights, dose)

    def _world(self, weights: Path) -> World:
        return simulate(self.source(), self.recipe, weights)

    def scores(self, job: Job, steps: int) -> list[Score]:
        """Run a job and score it."""
        task = self.task(job.part, job.task, job.dose, self.encoder(job))
        found = closed_forms(task) if job.arm is None else fit(task, job.arm, job.seed, steps)
        no_ceiling = np.full(len(task.config.genes), np.nan)
        return [
            Score(
                arm,
                truth,
                score_prediction(
                    slide, Prediction(mean), task.sets, no_ceiling,
                    replicates=REPLICATES[job.part],
                ),
            )
            for arm, predictions in found.items()
            for truth, slides in task.truths.items()
            for slide, mean in zip(slides, predictions, strict=True)
        ]  # fmt: skip


def run(runner: Runner, results: Results, wanted: Sequence[Job], steps: int) -> int:
    """Run what is not done; return how many runs wait for an encoder."""
    done = results.done()
    while True:
        there = [job for job in wanted if runner.encoder(job).exists()]
        left = [job for job in there if job.key(runner.encoder(job), steps) not in done]
        if not left:
            return len(wanted) - len(there)
        job = left[0]
        key = job.key(runner.encoder(job), steps)
        begun = time.perf_counter()
        scores = runner.scores(job, steps)
        seconds = round(time.perf_counter() - begun, 1)
        what = {"part": job.part, "task": job.task, "dose": job.dose, "seed": job.seed}
        results.add(key, what | {"seconds": seconds}, scores)
        done.add(key)
        pearson = scores[0].slide.by_set["pearson"].iloc[0]
        print(
            f"{time.strftime('%H:%M:%S')} {len(there) - len(left) + 1} of {len(wanted)}: "
            f"{job.part} {job.task} dose {job.dose:g} {job.name} seed {job.seed}, "
            f"{scores[0].slide.slide} {pearson:.4f} ({seconds} s)",
            flush=True,
        )


def main() -> int:
    """Parse, run or write; 1 if runs wait for an encoder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the HER2ST folder")
    parser.add_argument("--encoders", type=Path, required=True, help="folder, see above")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="of tiles and features; default OUT/cache")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--steps", type=int, default=240, help="of every arm")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--simulated-seeds", type=int, default=2)
    parser.add_argument("--write", type=Path, help="put the tables into this file and stop")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = Results(arguments.out)
    cache = arguments.cache or arguments.out / "cache"
    runner = Runner(arguments.data, arguments.encoders, cache)
    wanted = list(jobs(arguments.parts, arguments.seeds, arguments.simulated_seeds))
    if arguments.write:
        keys = {
            job.key(runner.encoder(job), arguments.steps): job
            for job in wanted
            if runner.encoder(job).exists()
        }
        write(arguments.write, results, keys, len(wanted))
        return 0
    waiting = run(runner, results, wanted, arguments.steps)
    if waiting:
        print(f"{waiting} runs wait for an encoder in {arguments.encoders}.", file=sys.stderr)
    return 1 if waiting else 0


if __name__ == "__main__":
    sys.exit(main())
