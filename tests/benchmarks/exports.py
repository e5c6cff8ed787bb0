"""Time, memory and size of every export of one large prediction: 50,000 spots × 200 genes.

Each form is written by a process of its own; its peak resident memory is set beside that of one
that only imports what the export imports and opens the prediction. ``--slide-px`` adds SpatialData
with a slide of that side, made up as it is read, so that its size alone counts.

python tests/benchmarks/exports.py [--spots 50000] [--genes 200] [--slide-px 40000]
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

from memory import peak_gb

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
FORMS = ("spatialdata", "geojson", "csv", "parquet", "ome-tiff", "vitessce")


def write(folder: Path, spots: int, genes: int) -> Path:
    """A prediction of touching squares of 8 µm at 0.5 µm/px, as many as make a square."""
    from tiny.prediction import write_tiny_prediction

    side_px = math.isqrt(spots) * 16 + 8
    names = [f"G{number}" for number in range(genes)]
    return write_tiny_prediction(folder, names, layout="visium-hd-8", size_px=(side_px, side_px))


def export(path: Path, form: str) -> None:
    """Write one form of all genes and report it on stdout; "nothing" only opens the prediction."""
    import hypergene.pipeline.export as module
    from hypergene.output import open_prediction

    assert get_args(module.ExportFormat) == FORMS
    opened = open_prediction(path)
    start, size = time.perf_counter(), 0
    if form != "nothing":
        output = path.with_name(f"out.{form}")
        options = {"max_genes": len(opened.genes), "overwrite": True}
        done = module.export(path, form, output, **options)  # type: ignore[arg-type]
        assert done.genes == len(opened.genes)
        parts = [output, *output.rglob("*")] if output.is_dir() else [output]
        size = sum(part.stat().st_size for part in parts if part.is_file())
    print(json.dumps([time.perf_counter() - start, peak_gb(), size / 1e6]))


def export_slide(path: Path, side_px: int) -> None:
    """Write SpatialData with a slide of a side, of which one gene is exported."""
    from tiny.prediction import Gradient

    from hypergene.output import open_prediction
    from hypergene.output.export import Chosen, write_spatialdata

    opened = open_prediction(path)
    chosen = Chosen(opened, opened.genes[:1], False)
    library = opened.uns["spatial"]["slide"]["metadata"]
    library |= {"fullres_width_px": side_px, "fullres_height_px": side_px}
    start = time.perf_counter()
    slide = Gradient(side_px, side_px)
    write_spatialdata(chosen, path.with_name("out.slide"), slide=slide, overwrite=True)
    print(json.dumps([time.perf_counter() - start, peak_gb(), 0.0]))


def measured(*arguments: Any) -> list[float]:
    """Run this script on itself."""
    command = [sys.executable, "-W", "ignore", __file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spots", type=int, default=50_000)
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--slide-px", type=int, nargs="*", default=[])
    parser.add_argument("--export", nargs=2)
    parser.add_argument("--export-slide", nargs=2)
    given = parser.parse_args()
    if given.export:
        return export(Path(given.export[0]), given.export[1])
    if given.export_slide:
        return export_slide(Path(given.export_slide[0]), int(given.export_slide[1]))
    print("| form | wall time | peak resident memory | written |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), given.spots, given.genes)
        for form in ("nothing", *FORMS):
            seconds, gb, mb = measured("--export", path, form)
            print(f"| `{form}` | {seconds:.1f} s | {gb:.2f} GB | {mb:.0f} MB |", flush=True)
        for side in given.slide_px:
            seconds, gb, _ = measured("--export-slide", path, side)
            print(f"| slide, {side:,} px | {seconds:.1f} s | {gb:.2f} GB | |", flush=True)
    return None


if __name__ == "__main__":
    main()
