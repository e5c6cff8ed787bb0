"""A cohort that is killed (``kill -9``) at random moments and gone on with, and one that is not.

    PYTHONPATH=.:tests python tests/kill_cohort.py [--kills 20] [--slides 12] [--seed 0]

Each kill meets, in turn, the process that was started, its worker, or both. Said at the end, and an
error if it is not so: every output is whole and holds the same arrays as that of an unbroken run,
nothing was ever half-written under a final name, and no temporary, lock or worker is left.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from hypergene import cli
from hypergene.output import read_anndata
from hypergene.pipeline.painted import paint_slide

STATES = ".hypergene"
_MAY_DIFFER = (
    "uns/hypergene/seconds/",
    "uns/hypergene/wait_share",
    "uns/hypergene/arguments/overwrite",
)


class Run:
    """``hypergene predict FOLDER`` in a process of its own; one that is forked has its imports."""

    def __init__(self, slides: Path, out: Path, model: Path, *more: str) -> None:
        self.out = out
        words = ["predict", slides, "--out", out, "--model", model, "--workers", "0", *more]
        command = [str(word) for word in [*words, "--device", "cpu"]]
        self.process = multiprocessing.get_context("fork").Process(target=_run, args=[command])
        self.process.start()

    def wait_for_work(self) -> bool:
        """Wait until a slide is under way; False if the run ended before."""
        while self.process.is_alive():
            if any((self.out / STATES).glob("*.lock")):
                return True
            time.sleep(0.01)
        return False

    def workers(self) -> list[int]:
        """Return the numbers of its workers."""
        return [
            pid for pid in children_of(self.process.pid or 0) if "cohort.worker" in words_of(pid)
        ]

    def finish(self) -> None:
        """Wait for its end, good or by a kill; anything else ends the program."""
        self.process.join()
        if self.process.exitcode not in (0, -signal.SIGKILL):
            sys.exit(f"exit code {self.process.exitcode}")


def _run(command: list[str]) -> None:
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - lives as long as the process
    cli.main(command)


def children_of(pid: int) -> list[int]:
    """Return the children of a process."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def words_of(pid: int) -> str:
    """Return the command line of a process; "" if it lives no more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def kill_at_random(run: Run, draw: random.Random, longest_s: float, whom: str) -> str | None:
    """Kill a run some time after it began to work; return in what it was hit, if it still ran."""
    if not run.wait_for_work():
        run.finish()
        return None
    time.sleep(draw.uniform(0, longest_s))
    workers = run.workers()
    victims = {
        "parent": [run.process.pid or 0],
        "worker": workers,
        "both": [run.process.pid or 0, *workers],
    }
    if not run.process.is_alive():
        run.finish()
        return None
    for pid in victims[whom]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if whom == "worker":  # the run goes on with another one, and is killed a little later
        time.sleep(draw.uniform(0, longest_s))
        run.process.kill()
    run.finish()
    until = time.monotonic() + 10
    while any(words_of(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.01)
    drafts = [path for path in run.out.iterdir() if path.name != STATES and path.name[0] == "."]
    locks = list((run.out / STATES).glob("*.lock"))
    return "writing" if drafts else "predicting" if locks else "between slides"


def check_whole(out: Path) -> int:
    """Open everything that stands under a final name; return how many outputs there are."""
    outputs = [path for path in out.glob("*.zarr") if not path.name.startswith(".")]
    for path in outputs:
        read_anndata(path)
    return len(outputs)


def arrays_of(group: Any, place: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield the path, and type, shape and bytes of every array of a store."""
    for name, member in sorted(group.members()):
        path = f"{place}{name}"
        if path.startswith(_MAY_DIFFER):
            continue
        if isinstance(member, zarr.Group):
            yield from arrays_of(member, f"{path}/")
        else:
            values = np.asarray(member[...])
            text = values.tolist() if values.dtype.kind in "OTU" else values.tobytes()
            yield path, repr((str(member.dtype), member.shape, text)).encode()


def contents(out: Path) -> Mapping[str, Mapping[str, bytes]]:
    """Return every array of every output."""
    stores = sorted(out.glob("*.zarr"))
    return {path.name: dict(arrays_of(zarr.open_group(path, mode="r"))) for path in stores}


def strays(out: Path) -> list[str]:
    """Return what is neither an output, a record nor the summary."""
    known = {"summary.csv", "run.json", STATES}
    names = [p.name for p in out.iterdir() if p.name not in known and p.suffix != ".zarr"]
    names += [p.name for p in out.iterdir() if p.name.startswith(".") and p.name != STATES]
    states = [p.name for p in (out / STATES).iterdir() if p.suffix != ".json" or p.name[0] == "."]
    return names + states


def kill_and_resume(
    slides: Path,
    model: Path,
    expected: Mapping[str, Mapping[str, bytes]],
    folder: Path,
    *,
    kills: int,
    longest_s: float,
    seed: int,
    processes: int = 1,
) -> Counter[str]:
    """Kill cohorts so many times and go on; return how often they were hit in what.

    Parameters
    ----------
    expected
        Arrays of the unbroken run, see :func:`contents`.
    folder
        For the outputs; a new cohort begins when one has come to its end.
    longest_s
        Seconds after the first slide was begun within which a kill comes.

    Ends the program if anything is not as it must be.
    """
    draw = random.Random(seed)
    more = ("--processes", str(processes))
    hits: Counter[str] = Counter()
    number = cohort = 0
    while number < kills:
        out = folder / f"killed-{cohort}"
        whom = ("parent", "worker", "both")[number % 3]
        hit = kill_at_random(Run(slides, out, model, *more), draw, longest_s, whom)
        done = check_whole(out)
        if hit is None:
            check_same(expected, out)
            cohort += 1
            continue
        number += 1
        hits[hit] += 1
        print(f"kill {number}: {whom} while {hit}, {done} of {len(expected)} outputs", flush=True)
    Run(slides, folder / f"killed-{cohort}", model, *more).finish()
    check_same(expected, folder / f"killed-{cohort}")
    return hits


def check_same(expected: Mapping[str, Mapping[str, bytes]], out: Path) -> None:
    """End the program unless the outputs are as expected, and nothing else is left."""
    found = contents(out)
    if found.keys() != expected.keys():
        sys.exit(f"{out}: outputs are {sorted(found)}, not {sorted(expected)}")
    for name, arrays in expected.items():
        different = [path for path in arrays if found[name].get(path) != arrays[path]]
        if different or found[name].keys() != arrays.keys():
            sys.exit(f"{out / name} differs in {different}")
    if left := strays(out):
        sys.exit(f"{out}: left behind: {left}")


def main() -> None:
    """Parse, paint slides, kill, and say what was found."""
    from tiny.model import write_tiny_model

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--slides", type=int, default=12)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "slides").mkdir()
        for seed in range(arguments.slides):
            paint_slide(folder / "slides" / f"s{seed:02}.tiff", size_px=600, mpp=1.0, seed=seed)
        painted = paint_slide(folder / "painted.tiff", size_px=1200, mpp=1.0)
        model = write_tiny_model(folder / "model", painted)
        start = time.monotonic()
        whole = Run(folder / "slides", folder / "whole", model)
        whole.wait_for_work()
        begun = time.monotonic()
        whole.finish()
        # A worker's start is most of it; kills are to come before the end, as a rule.
        longest_s = 0.8 * (time.monotonic() - begun)
        hits = kill_and_resume(
            folder / "slides",
            model,
            contents(folder / "whole"),
            folder,
            kills=arguments.kills,
            longest_s=longest_s,
            seed=arguments.seed,
            processes=arguments.processes,
        )
        what = ", ".join(f"{count} while {name}" for name, count in hits.items())
        print(f"{arguments.kills} kills in {time.monotonic() - start:.0f} s: {what}.")
        print("Outputs equal those of the unbroken run, array by array; nothing was left behind.")


if __name__ == "__main__":
    main()
