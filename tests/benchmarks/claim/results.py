"""What every run gave, on disk as soon as it is there: a table, and the bootstrap's replicates."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hypergene.evaluation.decisions import Cohort, Scored
from hypergene.evaluation.metrics import METRICS
from hypergene.evaluation.slide_scores import SlideScores

KEPT = ("pearson", "pearson_beyond_depth", "mse")
FIELDS = (
    "key", "part", "task", "dose", "arm", "seed", "section", "patient", "truth", "set", *KEPT,
    "spots", "blocks", "seconds",
)  # fmt: skip
_COLUMNS = [METRICS.index(name) for name in KEPT]


@dataclass(frozen=True)
class Score:
    """The scores of one arm on one section against one kind of truth."""

    arm: str
    truth: str
    slide: SlideScores


class Results:
    """A folder with results.csv and one file of replicates a run."""

    def __init__(self, folder: Path) -> None:
        self.path, self.folder = folder / "results.csv", folder / "replicates"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            self.path.write_text(",".join(FIELDS) + "\n")
        elif not (text := self.path.read_text()).endswith("\n"):  # killed while it wrote
            self.path.write_text(text[: text.rfind("\n") + 1])

    def done(self) -> set[str]:
        """Keys of the runs that are whole: their replicates are written last."""
        return {file.stem for file in self.folder.glob("*.npz")}

    def add(self, key: str, what: Mapping[str, object], scores: Iterable[Score]) -> None:
        """Write a run: its rows, then its replicates, whose presence says that it is done."""
        replicates, rows = {}, []
        for one in scores:
            slide = one.slide
            for name, figures in slide.by_set.iterrows():
                rows.append(
                    {
                        "key": key,
                        **what,
                        "arm": one.arm,
                        "section": slide.slide,
                        "patient": slide.patient,
                        "truth": one.truth,
                        "set": name,
                        **{metric: round(float(figures[metric]), 6) for metric in KEPT},
                        "spots": slide.spots,
                        "blocks": slide.blocks,
                    }
                )
                place = "|".join((one.arm, one.truth, slide.slide, str(name)))
                table = slide.replicates[str(name)][:, _COLUMNS]
                replicates[place] = table.astype(np.float32)
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, FIELDS, lineterminator="\n").writerows(rows)
        draft = self.folder / f"{key}.draft"
        with draft.open("wb") as file:
            np.savez(file, **replicates)
        os.replace(draft, self.folder / f"{key}.npz")

    def read(self, part: str, keys: Sequence[str]) -> Scores:
        """Read the rows of one part that belong to whole runs of these keys."""
        rows = pd.read_csv(self.path, dtype={"key": str}, keep_default_na=False)
        rows = rows[(rows["part"] == part) & rows["key"].isin(self.done() & set(keys))]
        return Scores(rows.drop_duplicates(["key", "arm", "truth", "section", "set"]), self.folder)


@dataclass(frozen=True, eq=False)
class Scores:
    """Rows of results.csv with the replicates beside them."""

    rows: pd.DataFrame
    folder: Path

    def where(self, **wanted: object) -> Scores:
        """Keep the rows with these values; a list means any of them."""
        kept = np.ones(len(self.rows), bool)
        for column, value in wanted.items():
            among = value if isinstance(value, list | tuple) else [value]
            kept &= self.rows[column].isin(among).to_numpy()
        return Scores(self.rows[kept], self.folder)

    def metric(self, arm: str, metric: str) -> Scored:
        """Take one metric of one arm: means over seeds, section by section.

        All seeds were resampled alike, so means of replicates are replicates of the mean.
        """
        own = self.rows[self.rows["arm"] == arm]
        values, replicates = {}, {}
        for section, group in own.groupby("section", sort=False):
            values[section] = float(group[metric].mean())
            tables = [self._replicates(row)[:, KEPT.index(metric)] for row in group.itertuples()]
            replicates[section] = np.mean(tables, axis=0, dtype=np.float64)
        return Scored(values, replicates)

    def cohort(self) -> Cohort:
        """Patients and blocks of the sections."""
        first = self.rows.drop_duplicates("section").set_index("section")
        return Cohort(first["patient"].to_dict(), first["blocks"].to_dict())

    def seeds(self, arm: str) -> list[int]:
        """Seeds that all sections have of an arm."""
        own = self.rows[self.rows["arm"] == arm]
        sections = self.rows["section"].nunique()
        counts = own.drop_duplicates(["seed", "section"])["seed"].value_counts()
        return sorted(int(seed) for seed in counts[counts == sections].index)

    def _replicates(self, row) -> np.ndarray:
        place = "|".join((row.arm, row.truth, row.section, row.set))
        return _table(self.folder / f"{row.key}.npz")[place]


_TABLES: dict[Path, dict[str, np.ndarray]] = {}


def _table(path: Path) -> dict[str, np.ndarray]:
    if path not in _TABLES:
        with np.load(path) as file:
            _TABLES[path] = dict(file)
    return _TABLES[path]
