"""What is done and what failed, a small file a slide beside the outputs: ``.hypergene/``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hypergene import __version__
from hypergene.features.cache import file_fingerprint
from hypergene.output import atomic_path
from hypergene.pipeline.cohort.jobs import Job
from hypergene.pipeline.outcome import Outcome

FOLDER = ".hypergene"

_SAME_ANSWER = frozenset({"device", "compile", "batch_size", "workers", "overwrite"})
"""Options that do not change what is predicted, but for rounding; any other does."""

Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """What became of one slide.

    Attributes
    ----------
    state
        Whether there is an output.
    inputs
        What the output depends on, see :func:`inputs_of`.
    outcome
        As :meth:`hypergene.pipeline.outcome.Outcome.as_dict`.
    files, size_bytes
        Of the output: a store that was cut short later is noticed.
    host, started, ended
        Who did it and when (ISO 8601, UTC).
    """

    state: Literal["done", "failed"]
    inputs: Inputs
    outcome: Mapping[str, Any]
    files: int
    size_bytes: int
    host: str
    started: str
    ended: str

    def is_whole(self, target: Path) -> bool:
        """Whether the output stands there as it was written."""
        return self.state == "done" and measure(target) == (self.files, self.size_bytes)

    def as_outcome(self, job: Job) -> Outcome:
        """Return the outcome, with the paths as they are now."""
        told = dict(self.outcome)
        output = job.target if self.state == "done" else None
        return Outcome(**{**told, "slide": job.slide, "output": output})


def record_path(job: Job) -> Path:
    """Return where the record of a slide lies."""
    return job.out / FOLDER / f"{job.name}.json"


def read_record(job: Job) -> Record | None:
    """Return what became of a slide; None if nothing is known."""
    path = record_path(job)
    try:
        record = Record(**json.loads(path.read_text(encoding="utf-8")))
        record.as_outcome(job)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        # Cut short by a power failure: what is there is ours, and not known to be whole.
        return Record("done", {}, Outcome(job.slide).as_dict(), -1, -1, "", "", "")
    return record


def write_record(job: Job, record: Record) -> None:
    """Write what became of a slide.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    with atomic_path(record_path(job), overwrite=True) as draft:
        draft.write_text(json.dumps(asdict(record), ensure_ascii=False, indent=1), encoding="utf-8")


def inputs_of(job: Job, model_sha256: str) -> dict[str, Any]:
    """Return all that a prediction depends on, in plain values.

    The slide's content (its size and the sha256 of samples), the model's weights, the options that
    change the answer, the content of the files they name, and the version of hypergene.
    """
    chosen = asdict(job.options)
    named = {"coords": chosen["coords"], "tissue": chosen["tissue"]}
    options = {
        name: _plain(value)
        for name, value in chosen.items()
        if name not in _SAME_ANSWER and name != "model"
    }
    for name, value in named.items():
        if value is not None and value not in ("auto", "none"):
            content = _content(Path(value))
            options[name] = str(value) if content is None else content  # a plugin has a name alone
    return {
        "version": __version__,
        "model": model_sha256,
        "slide": _content(job.slide),
        **options,
    }


def differences(made: Inputs, wanted: Inputs) -> list[str]:
    """Return in words in what two predictions differ; empty if in nothing."""
    names = [name for name in {**made, **wanted} if made.get(name) != wanted.get(name)]
    return [_told(name, made.get(name), wanted.get(name)) for name in names]


def measure(target: Path) -> tuple[int, int]:
    """Return the number of files of an output, and their size in bytes; (0, 0) without any."""
    if target.is_dir():
        sizes = [path.stat().st_size for path in target.rglob("*") if path.is_file()]
        return len(sizes), sum(sizes)
    return (1, target.stat().st_size) if target.is_file() else (0, 0)


def _content(path: Path) -> Any:
    """Return what tells one file's content from another's; None if it cannot be read."""
    try:
        if path.is_dir():
            return list(measure(path))
        content = file_fingerprint(path)
        # The pixels of some formats lie in a folder beside the file.
        beside = path.with_suffix("")
        if path.suffix.lower() in (".mrxs", ".vms", ".vmu") and beside.is_dir():
            content["beside"] = list(measure(beside))
    except OSError:
        return None
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _told(name: str, made: Any, wanted: Any) -> str:
    if name in ("slide", "coords", "model") or isinstance(made, list | dict):
        return f"another {name}"
    before, now = ("the default" if value is None else value for value in (made, wanted))
    return f"{name} {before} instead of {now}"
