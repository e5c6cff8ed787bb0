"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

# Before the tests import numpy or torch: they share their machine, and threads change nothing.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

REPOSITORY = Path(__file__).resolve().parent.parent

# A user's own settings must not decide whether a test passes.
for variable in [name for name in os.environ if name.startswith("HYPERGENE_")]:
    if variable != "HYPERGENE_TEST_DATA":
        del os.environ[variable]

# How long an example takes is the machine's affair: the first one may import torch, or wait.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

RunCli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    """What a test leaves of torch's threads (squidpy takes all) would change others' last bits."""
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    yield
    if torch is not None and torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real slides and sections; the test is skipped where there is none."""
    named = os.environ.get("HYPERGENE_TEST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not (folder / "README.md").is_file():
        pytest.skip(f"no real data at {folder} (HYPERGENE_TEST_DATA names another place)")
    return folder


@pytest.fixture(scope="session")
def painted_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A painted H&E-like pyramidal TIFF, 1,200 × 1,200 px at 1 µm/px, two levels."""
    from hypergene.pipeline.painted import paint_slide

    return paint_slide(tmp_path_factory.mktemp("painted") / "painted.tiff", size_px=1200, mpp=1.0)


@pytest.fixture(scope="session")
def save_svs() -> Callable[..., Path]:
    """Write pixels as Aperio's scanners do: a pyramid in steps of 4, MPP in the description."""
    import numpy as np
    import tifffile
    from PIL import Image

    def save(pixels: np.ndarray, path: Path, *, mpp: float = 1.0) -> Path:
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        text = f"Aperio Image Library v12.0.15\r\n{size} [0,0 {size}] (256x256)|MPP = {mpp}"
        picture = Image.fromarray(pixels)
        with tifffile.TiffWriter(path) as file:
            for level in range(2):
                file.write(
                    np.asarray(picture), photometric="rgb", tile=(256, 256), metadata=None,
                    compression="deflate", subfiletype=int(level > 0), description=text,
                )  # fmt: skip
                picture = picture.reduce(4)
        return path

    return save


@pytest.fixture(scope="session")
def run_cli() -> RunCli:
    """Run ``hypergene ARGS...`` as its own process: the installed script, or the module."""
    script = Path(sys.executable).with_name("hypergene")
    installed = script.is_file()
    command = [str(script)] if installed else [sys.executable, "-m", "hypergene"]
    search = {} if installed else {"PYTHONPATH": str(REPOSITORY)}

    def run(
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *map(str, arguments)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            timeout=timeout,
            env={**os.environ, **search, "COLUMNS": "100", **(env or {})},
            check=False,
        )

    return run


TINY_RECIPE = """
[about]
licence = "CC-BY-4.0"
tissue = "painted"

[encoder]
name = "resnet10t"
arguments = { channels = [8, 8, 16, 16], stem_width = 8 }
tile_um = [112.0, 300.0]
tile_px = 32

[geometry]
dim = 8

[head]
modules = 4

[train]
epochs = 4
slides_per_batch = 2
spots_per_slide = 8
assess_every = 2
lr = 5e-3
"""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, painted_slide: Path) -> Path:
    """A model folder with random weights, whose predictions vary from spot to spot."""
    from tiny.model import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny-model", painted_slide)


@dataclass(frozen=True)
class Cohort:
    """Painted sections with counts that follow the picture, as a user would have them."""

    folder: Path
    sheet: Path
    samples: tuple[str, ...]

    def counts(self, sample: str) -> Path:
        """The counts of a sample."""
        return self.folder / "ST-cnts" / f"{sample}.tsv"


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Patients A and B with two sections each, 30 spots and 20 genes a section, 4 µm/px."""
    folder = tmp_path_factory.mktemp("cohort")
    samples = ("A1", "A2", "B1", "B2")
    lines = ["sample,patient,slide,data,format,mpp"]
    for seed, sample in enumerate(samples):
        slide = _write_section(folder, sample, seed)
        data = f"ST-cnts/{sample}.tsv"
        lines.append(f"{sample},{sample[0]},{slide.relative_to(folder)},{data},her2st,4.0")
    sheet = folder / "samples.csv"
    sheet.write_text("\n".join(lines) + "\n")
    return Cohort(folder, sheet, samples)


def _write_section(folder: Path, sample: str, seed: int) -> Path:
    """Write image, counts and spot positions in the HER2ST layout; return the image."""
    import numpy as np
    from layouts.made import SYMBOLS, made_section

    section = made_section(sample, seed=seed)
    row, column = np.divmod(np.arange(30), 6)
    xy_px = np.stack([75 + 50 * column, 80 + 50 * row], 1)
    table = ["\t".join(["", *SYMBOLS])]
    places = ["x\ty\tpixel_x\tpixel_y\tselected"]
    for c, r, (x, y), drawn in zip(
        column, row, xy_px, section.draw(xy_px).toarray().tolist(), strict=True
    ):
        table.append("\t".join([f"{c}x{r}", *map(str, drawn)]))
        places.append(f"{c}\t{r}\t{x}\t{y}\t1")
    for path, lines in (
        (folder / "ST-cnts" / f"{sample}.tsv", table),
        (folder / "ST-spotfiles" / f"{sample}_selection.tsv", places),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    return section.save_picture(folder / "ST-imgs" / sample[0] / sample, "he.png")


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that trains in seconds."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY_RECIPE)
    return path
