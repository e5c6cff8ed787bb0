"""Make the pictures of the tutorials by running them, word for word.

    python docs/images/make_tutorials.py docs/images

The slides are OpenSlide's CMU-1-Small-Region.svs (CC0), which the demo fetches, and painted ones.
Pages are photographed by Playwright, in the browser that CHROMIUM names or in its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parents[1]
WIDEST_PX = 1100

#: Tutorial -> (what it leaves, picture made of it).
PICTURES = {
    "predict": (
        ("demo/CMU-1-Small-Region.genes.png", "tutorial-demo.png"),
        ("report.html", "tutorial-report.png"),
        ("genes.png", "tutorial-squidpy.png"),
    ),
    "finetune": (
        ("look/contact-sheet.png", "tutorial-contact-sheet.png"),
        ("new.png", "tutorial-new-patient.png"),
    ),
    "evaluate": (("methods.png", "tutorial-methods.png"),),
}


def photograph(page: Path, picture: Path) -> None:
    """Write what a browser shows of a page, light and 1,400 px wide."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM"))
        view = browser.new_page(viewport={"width": 1400, "height": 1000}, color_scheme="light")
        view.goto(page.as_uri())
        view.wait_for_timeout(2000)  # until the map is drawn
        view.screenshot(path=picture)
        browser.close()


def shrink(picture: Path, to: Path) -> None:
    """Write a picture in 256 colours and at most `WIDEST_PX` wide, on white."""
    with Image.open(picture) as image:
        flat = Image.new("RGB", image.size, "white")
        flat.paste(image, mask=image.getchannel("A") if "A" in image.getbands() else None)
    flat.thumbnail((WIDEST_PX, 4 * WIDEST_PX))
    flat.quantize(256, dither=Image.Dither.NONE).save(to, optimize=True)


def main(folder: Path) -> None:
    """Run each tutorial in a folder of its own and keep what its page shows."""
    for tutorial, pictures in PICTURES.items():
        with tempfile.TemporaryDirectory() as reader:
            page = DOCS / "tutorials" / f"{tutorial}.md"
            runner = DOCS / "site" / "run_tutorial.py"
            subprocess.run([sys.executable, runner, page, reader], check=True)
            for left, name in pictures:
                made = Path(reader) / left
                if made.suffix == ".html":
                    photograph(made, made.with_suffix(".png"))
                shrink(made.with_suffix(".png"), folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
