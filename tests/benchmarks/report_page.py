"""How large and how fluent a page of 50,000 spots × 200 genes is, in headless Chromium.

``python tests/benchmarks/report_page.py [PREDICTION.zarr ...]`` makes pages of made-up predictions
(smooth maps with noise of 5 %, and noise alone, which is the worst case) and of those given; says
their size, the time until the first map stands, the time from choosing a gene to its map drawn
(over 20 genes), and the frames while the map is dragged.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from playwright.sync_api import sync_playwright
from scipy.ndimage import gaussian_filter

from hypergene.output.anndata_file import write_anndata
from hypergene.pipeline.report import ReportOptions, report_one

CHOSEN = 20
DRAGGED = 40
# Until the map's pixels can be read back: by then a GPU, or what stands in for one, has drawn them.
DRAWN = """async (gene) => {
    const map = document.getElementById("map");
    const start = performance.now();
    document.querySelector(`#genes button[data-gene="${gene}"]`).click();
    while (map.getAttribute("aria-busy") !== "false") await new Promise(requestAnimationFrame);
    const plot = Bokeh.documents[0].get_model_by_name("plot");
    Bokeh.index.get_one(plot).canvas_view.primary.ctx.getImageData(100, 100, 1, 1);
    return performance.now() - start;
}"""
FRAMES = """() => {
    window.frames_seen = [];
    const see = (now) => { window.frames_seen.push(now); requestAnimationFrame(see); };
    requestAnimationFrame(see);
}"""


def made(rows: int, columns: int, genes: int, noise: float) -> AnnData:
    """Maps of smooth modules, 20 µm apart, with a share of noise."""
    random = np.random.default_rng(0)
    spots = rows * columns
    row, column = np.divmod(np.arange(spots), columns)
    modules = np.stack(
        [gaussian_filter(random.normal(size=(rows, columns)), 6).ravel() for _ in range(20)], 1
    )
    modules /= modules.std(axis=0)
    smooth = modules @ random.normal(size=(20, genes)) / 4
    level = random.uniform(0.05, 2.5, genes)
    rough = random.normal(size=(spots, genes))
    log = level * np.exp(0.3 * ((1 - noise) * smooth + noise * rough))
    std = 0.3 * np.sqrt(level) * np.exp(0.1 * ((1 - noise) * smooth + noise * rough[::-1]))
    picture = np.full((1500, 1500, 3), 220, np.uint8)
    picture += random.integers(0, 30, picture.shape, dtype=np.uint8)
    size = 40 * max(rows, columns) + 40
    return AnnData(
        log.astype(np.float32),
        obs=pd.DataFrame(
            {"ood_score": random.uniform(size=spots).astype(np.float32)},
            index=[f"r{r}c{c}" for r, c in zip(row, column, strict=True)],
        ),
        var=pd.DataFrame(
            {"heldout_pcc": np.linspace(0.6, 0.1, genes, dtype=np.float32)},
            index=[f"GENE{number}" for number in range(genes)],
        ),
        layers={"std": std.astype(np.float32)},
        obsm={"spatial": np.stack([40.0 * column + 40, 40.0 * row + 40], 1)},
        uns={
            "hypergene": {
                "mpp": {"x": 0.5, "y": 0.5, "source": "made"},
                "layout": {"shape": "circle"},
                "model": {"name": "made"},
            },
            "spatial": {
                "made": {
                    "images": {"hires": picture},
                    "scalefactors": {"spot_diameter_fullres": 36.0},
                    "metadata": {"fullres_width_px": size, "fullres_height_px": size},
                }
            },
        },
    )


def measure(browser: Any, page: Path) -> str:
    """Return a row of the table."""
    tab = browser.new_page(viewport={"width": 1400, "height": 900})
    start = time.perf_counter()
    tab.goto(page.as_uri())
    tab.wait_for_selector('#map[aria-busy="false"]', timeout=120_000)
    load = time.perf_counter() - start
    genes = tab.evaluate("document.querySelectorAll('#genes tbody button').length")
    chosen = np.linspace(1, genes - 1, CHOSEN).round().astype(int).tolist()
    drawn = [tab.evaluate(DRAWN, gene) for gene in chosen]
    box = tab.locator("#map").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.evaluate(FRAMES)
    tab.mouse.move(x, y)
    tab.mouse.down()
    for step in range(DRAGGED):
        tab.mouse.move(x + 3 * step, y + 2 * step)
        tab.wait_for_timeout(16)
    tab.mouse.up()
    seen = np.diff(np.array(tab.evaluate("window.frames_seen")))
    drawn_by = tab.evaluate("Bokeh.documents[0].get_model_by_name('plot').output_backend")
    tab.close()
    return (
        f"| {page.stem} | {page.stat().st_size / 1e6:.1f} MB | {load:.1f} s | "
        f"{statistics.median(drawn):.0f} ms | {np.percentile(drawn, 95):.0f} ms | "
        f"{1000 / np.mean(seen):.0f} | {np.percentile(seen, 95):.0f} ms | "
        f"{drawn_by} |"
    )


def pages(folder: Path, given: list[Path], spots: int, genes: int) -> Iterator[Path]:
    side = round(spots**0.5)
    for name, noise in (("5 % noise", 0.05), ("noise alone", 1.0)):
        write_anndata(made(side, spots // side, genes, noise), folder / "made.zarr", overwrite=True)
        yield written(folder / "made.zarr", folder / f"{name}.html", genes)
    for path in given:
        yield written(path, folder / f"{path.stem}.html", genes)


def written(prediction: Path, page: Path, genes: int) -> Path:
    outcome = report_one(prediction, page, ReportOptions(max_genes=genes))
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in outcome.seconds.items())
    print(f"{page.stem}: {outcome.spots:,} spots × {outcome.genes} genes; {stages}")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", nargs="*", type=Path)
    parser.add_argument("--spots", type=int, default=50_000)
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--browser", help="executable; default: Playwright's own")
    given = parser.parse_args()
    rows: list[str] = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.browser)
        for page in pages(Path(folder), given.predictions, given.spots, given.genes):
            rows.append(measure(browser, page))
            print(rows[-1], flush=True)
    print("| page | size | first map | gene, median | gene, p95 | frames/s | frame, p95 | by |")
    print("|---|---|---|---|---|---|---|---|")
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
