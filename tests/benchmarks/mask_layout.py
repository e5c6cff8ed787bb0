"""Tissue mask and layout of a large slide, against LazySlide's find_tissues and tile_tissues.

    python tests/benchmarks/mask_layout.py /tmp/mosaic-1.svs --lazyslide /path/to/venv/bin/python

The slide comes from mosaic.py beside this file. LazySlide 0.13 lives in an environment of its own
(pip install "lazyslide==0.13.*"). Each run is a process of its own, the two in turn, and what is
compared is CPU and wall time after the imports; peak memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import textwrap
from pathlib import Path

OURS = """
    import sys, time
    import skimage.filters, skimage.morphology, openslide, tifffile
    from hypergene.slide import find_tissue, open_slide
    from hypergene.spots import lay_spots, layout_named

    path, mpp, tile_um = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    begin, begin_cpu = time.perf_counter(), time.process_time()
    with open_slide(path, mpp=mpp) as slide:
        mask = find_tissue(slide)
        masked, masked_cpu = time.perf_counter(), time.process_time()
        layout = layout_named("grid", diameter_um=tile_um, pitch_um=tile_um)
        spots = lay_spots(layout, slide.dimensions, (mpp, mpp))
        kept = mask.fraction(spots.xy_px, tile_um, slide.mpp, "square") >= 0.3
        number = int(kept.sum())
"""

LAZYSLIDE = """
    import sys, time, warnings
    warnings.simplefilter("ignore")
    import lazyslide as zs
    from wsidata import open_wsi

    path, mpp, tile_um = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    begin, begin_cpu = time.perf_counter(), time.process_time()
    wsi = open_wsi(path, store=None)
    zs.pp.find_tissues(wsi)
    masked, masked_cpu = time.perf_counter(), time.process_time()
    zs.pp.tile_tissues(wsi, round(tile_um / mpp), mpp=mpp, slide_mpp=mpp)
    number = len(wsi["tiles"])
"""

REPORT = """
    import json
    (peak,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    print(json.dumps({
        "mask": masked - begin, "layout": time.perf_counter() - masked,
        "mask_cpu": masked_cpu - begin_cpu, "layout_cpu": time.process_time() - masked_cpu,
        "tiles": number,
        "memory_mb": int(peak.split()[1]) * 1024 / 1e6,
    }))
"""


def timed(python: str, program: str, *arguments: object) -> dict[str, float]:
    """Run a program and return what it reports."""
    code = textwrap.dedent(program) + textwrap.dedent(REPORT)
    done = subprocess.run(
        [python, "-c", code, *map(str, arguments)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Parse the command line, run both in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--lazyslide", help="Python that has LazySlide.")
    parser.add_argument("--mpp", type=float, nargs="*", default=[0.5, 0.69])
    parser.add_argument("--tile-um", type=float, default=112.0)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    for mpp in options.mpp:
        runs: dict[str, list[dict[str, float]]] = {"hypergene": [], "lazyslide": []}
        for _ in range(options.runs):
            given = options.slide.resolve(), mpp, options.tile_um
            runs["hypergene"].append(timed(sys.executable, OURS, *given))
            if options.lazyslide:
                runs["lazyslide"].append(timed(options.lazyslide, LAZYSLIDE, *given))
        middle = {
            name: {key: statistics.median(run[key] for run in done) for key in done[0]}
            for name, done in runs.items()
            if done
        }
        for name, said in middle.items():
            print(
                f"{mpp:g} µm/px  {name:10} wall: mask {said['mask']:.2f} s, layout "
                f"{said['layout']:.2f} s  CPU: mask {said['mask_cpu']:.2f} s, layout "
                f"{said['layout_cpu']:.2f} s  peak {said['memory_mb']:.0f} MB  "
                f"{said['tiles']:,.0f} tiles"
            )
        if "lazyslide" in middle:
            ours, theirs = middle.values()
            for clock in ("", "_cpu"):
                mask = theirs[f"mask{clock}"] / ours[f"mask{clock}"]
                both = sum(theirs[f"{part}{clock}"] for part in ("mask", "layout"))
                both /= sum(ours[f"{part}{clock}"] for part in ("mask", "layout"))
                print(f"  ratio of {clock[1:] or 'wall':4}: mask {mask:.1f}, both {both:.1f}")


if __name__ == "__main__":
    main()
