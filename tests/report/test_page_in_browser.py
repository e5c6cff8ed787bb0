"""A prediction's page as a reader meets it: opened from disk, in headless Chromium."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiny.reported import GENES, HOSTILE, tiny_prediction

from hypergene.output.anndata_file import write_anndata
from hypergene.pipeline.report import write_report

sync_api = pytest.importorskip("playwright.sync_api")

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# Software WebGL, as far as a machine without a GPU has one.
FLAGS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WIDE = {"width": 1400, "height": 900}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = [path for path in map(shutil.which, NAMES) if path]
        if not own.exists() and not found:
            pytest.skip("no Chromium: neither Playwright's own nor one on PATH")
        path = None if own.exists() else found[0]
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of circles, and of squares with archetypes; and their index."""
    folder = tmp_path_factory.mktemp("pages")
    write_anndata(tiny_prediction(), folder / "circles.zarr")
    write_anndata(tiny_prediction(shape="square", archetypes=5), folder / "squares.zarr")
    return write_report([folder / "circles.zarr", folder / "squares.zarr"], folder / "p").parent


class Tab:
    """A page in the browser, with what went wrong in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._said)
        page.on("request", self._asked)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.problems.append(request.url)

    def open(self, path: Path) -> Tab:
        self.page.goto(path.as_uri())
        return self.settled()

    def settled(self) -> Tab:
        self.page.wait_for_selector('#map[aria-busy="false"]')
        return self

    def choose(self, text: str) -> None:
        self.page.fill("#search", text)
        self.page.press("#search", "Enter")
        self.settled()

    def show(self, layer: str) -> None:
        self.page.select_option("#layer", label=layer)
        self.settled()

    def model(self, name: str, what: str) -> Any:
        return self.page.evaluate(f"Bokeh.documents[0].get_model_by_name('{name}').{what}")

    def values(self) -> NDArray[np.float64]:
        return np.array(self.model("spots", "data.value.join()").split(","), np.float64)

    def picture(self) -> NDArray[np.uint8]:
        png = self.page.locator("#map").screenshot()
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def window(self) -> tuple[float, float, float, float]:
        ends = "['x_range.start', 'x_range.end', 'y_range.start', 'y_range.end']"
        script = f"""() => {{
            const plot = Bokeh.documents[0].get_model_by_name("plot");
            return {ends}.map((path) => path.split(".").reduce((at, key) => at[key], plot));
        }}"""
        left, right, bottom, top = self.page.evaluate(script)
        return left, right, bottom, top

    def place_of(self, spot: int) -> tuple[float, float]:
        """Where a spot is drawn, px of the browser's window."""
        x, y = (self.model("spots", f"data.{axis}[{spot}]") for axis in "xy")
        left, right, bottom, top = self.window()
        frame = self.page.evaluate("""() => {
            const plot = Bokeh.documents[0].get_model_by_name("plot");
            const { left, top, width, height } = Bokeh.index.get_one(plot).frame.bbox;
            return [left, top, width, height];
        }""")
        box = self.page.locator("#map .bk-Canvas").bounding_box()
        return (
            box["x"] + frame[0] + (x - left) / (right - left) * frame[2],
            box["y"] + frame[1] + (y - top) / (bottom - top) * frame[3],
        )

    def hover(self, spot: int) -> str:
        x, y = self.place_of(spot)
        self.page.mouse.move(x - 1, y - 1)
        self.page.mouse.move(x, y)
        tip = self.page.locator(".bk-tooltip-content")
        tip.wait_for()
        return str(tip.inner_text())


@pytest.fixture
def tab(chromium: Any) -> Iterator[Tab]:
    context = chromium.new_context(viewport=WIDE)
    opened = Tab(context.new_page())
    yield opened
    context.close()
    assert opened.problems == []


def printed(values: Any, decimals: int) -> list[str]:
    return [f"{float(value):.{decimals}f}" for value in values]


def test_it_opens_from_disk_without_errors_or_network(tab: Tab, folder: Path) -> None:
    tab.open(folder / "circles.html")
    assert tab.page.title() == "circles: predicted expression"
    assert "Predicted, not measured." in tab.page.inner_text("header")
    assert tab.model("plot", "title.text") == "ERBB2: predicted, not measured"
    assert "predicted ln(1 + counts per 10,000)" in tab.model("bar", "title")
    # The tissue's colours are not those of the palette: spots lie on the slide.
    colours = np.unique(tab.picture().reshape(-1, 3), axis=0)
    assert len(colours) > 50


def test_every_value_of_every_layer_is_that_of_the_file(tab: Tab, folder: Path) -> None:
    adata = tiny_prediction()
    tab.open(folder / "circles.html")
    about = tab.page.evaluate("JSON.parse(document.getElementById('page').textContent)")
    assert {gene["name"] for gene in about["genes"]} == set(GENES)
    for gene in about["genes"]:
        number = GENES.index(gene["name"])
        tab.show("predicted expression")
        tab.choose(gene["name"])
        decimals = gene["expression"]["decimals"]
        assert printed(tab.values(), decimals) == printed(adata.X[:, number], decimals)
        tab.show("its spread (± 1 std)")
        decimals = gene["spread"]["decimals"]
        assert printed(tab.values(), decimals) == printed(adata.layers["std"][:, number], decimals)
    for column in about["columns"]:
        tab.show(column["label"])
        values = np.asarray(adata.obs[column["key"]], np.float64)
        assert printed(tab.values(), column["decimals"]) == printed(values, column["decimals"])


def test_search_finds_a_gene_and_the_map_changes(tab: Tab, folder: Path) -> None:
    tab.open(folder / "circles.html")
    before = tab.picture()
    tab.page.fill("#search", "krt1")
    assert "1 of 6 genes" in tab.page.inner_text("#found")
    assert tab.page.locator("#genes tbody tr:visible").count() == 1
    tab.page.press("#search", "Enter")
    tab.settled()
    assert tab.page.inner_text("#trust-title") == "May KRT18 be read?"
    assert "KRT18" in tab.model("plot", "title.text")
    assert (tab.picture() != before).any(axis=2).mean() > 0.01
    tab.choose("ENSG00000000003")
    assert "COL1A1" in tab.model("plot", "title.text")
    tab.page.fill("#search", "nonsense")
    assert "No gene on this page" in tab.page.inner_text("#found")


def test_reliability_stands_beside_the_map(tab: Tab, folder: Path) -> None:
    tab.open(folder / "circles.html")
    said = tab.page.inner_text("aside")
    for part in ("A", "0.50 (95 %: 0.40 to 0.60)", "0.70", "single spots", "79 %"):
        assert part in said
    tab.choose("KRT8")
    assert "1 ring: average the prediction" in tab.page.inner_text("aside")
    tab.choose("MALAT1")
    said = tab.page.inner_text("aside")
    assert "never held out" in said and "not to be read" in said


def test_hovering_says_the_values_of_the_file(tab: Tab, folder: Path) -> None:
    adata = tiny_prediction()
    tab.open(folder / "circles.html")
    tab.choose("KRT8")
    said = tab.hover(37)
    for part in (
        adata.obs_names[37],
        f"{adata.X[37, 1]:.4f} ± {adata.layers['std'][37, 1]:.4f}",
        f"{adata.obs['ood_score'].iloc[37]:.3f}",
        "{:.0f}, {:.0f} px".format(*adata.obsm["spatial"][37]),
    ):
        assert part in said
    tab.show("focus")
    assert f"focus: {adata.obs['focus'].iloc[37]:.0f}" in tab.hover(37)
    assert "focus: unknown" in tab.hover(3)
    assert HOSTILE in tab.hover(0)  # as text, and the page's title is still its own
    assert tab.page.title() == "circles: predicted expression"


def test_what_the_map_shows_is_said_in_words(tab: Tab, folder: Path) -> None:
    tab.open(folder / "circles.html")
    values = tiny_prediction().X[:, 0]
    said = tab.page.inner_text("#summary")
    for value in (values.min(), np.median(values), values.max()):
        assert f"{value:.3f}" in said
    tab.show("OOD score")
    assert "OOD score" in tab.page.inner_text("#summary")
    assert tab.page.get_attribute("#summary", "role") == "status"


def test_all_of_it_works_from_the_keyboard(tab: Tab, folder: Path) -> None:
    page = tab.open(folder / "circles.html").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "all predictions"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "search"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) != "none"
    page.keyboard.type("col")
    page.keyboard.press("Enter")
    tab.settled()
    assert "COL1A1" in tab.model("plot", "title.text")
    for _ in range(3):
        page.keyboard.press("Backspace")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    tab.settled()
    assert "KRT8" in tab.model("plot", "title.text")
    assert page.locator("#genes tr.chosen button[aria-pressed=true]").inner_text() == "KRT8"
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"layer", "palette", "opacity", "slide", "closer", "farther", "all", "map"} <= reached


def test_zooming_keeps_a_mm_as_long_across_as_down(tab: Tab, folder: Path) -> None:
    page = tab.open(folder / "circles.html").page

    def mm_per_px() -> tuple[float, float]:
        left, right, bottom, top = tab.window()
        across, down = tab.model("plot", "inner_width"), tab.model("plot", "inner_height")
        return (right - left) / across, (bottom - top) / down

    home = tab.window()
    assert mm_per_px()[0] == pytest.approx(mm_per_px()[1])
    page.focus("#map")
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    nearer = tab.window()
    assert nearer[1] - nearer[0] == pytest.approx((home[1] - home[0]) / 1.5)
    assert sum(nearer[:2]) < sum(home[:2])
    page.set_viewport_size({"width": 900, "height": 700})
    page.wait_for_timeout(200)
    assert mm_per_px()[0] == pytest.approx(mm_per_px()[1])
    x, y = tab.place_of(37)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -240)
    page.wait_for_timeout(300)
    assert mm_per_px()[0] < (nearer[1] - nearer[0]) / 500
    assert mm_per_px()[0] == pytest.approx(mm_per_px()[1], rel=0.02)
    page.click("#all")
    page.set_viewport_size(WIDE)
    page.wait_for_timeout(200)
    assert tab.window() == pytest.approx(home, abs=0.01)


def test_spots_have_their_true_size(tab: Tab, folder: Path) -> None:
    for name, kept in (("circles", np.pi / 4), ("squares", 1.0)):
        page = tab.open(folder / f"{name}.html").page
        page.uncheck("#slide")
        page.fill("#opacity", "100")
        page.wait_for_timeout(200)
        left, right, _, _ = tab.window()
        px_per_mm = tab.model("plot", "inner_width") / (right - left)
        (x, y), radius = tab.place_of(37), round(0.08 * px_per_mm)
        png = page.screenshot(
            clip={"x": x - radius, "y": y - radius, "width": 2 * radius, "height": 2 * radius}
        )
        spot = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        painted = (abs(spot - 255).sum(axis=2) > 60).sum()
        assert painted == pytest.approx(kept * (0.1 * px_per_mm) ** 2, rel=0.12)


def test_the_genes_can_be_sorted(tab: Tab, folder: Path) -> None:
    page = tab.open(folder / "circles.html").page
    names = "[...document.querySelectorAll('#genes tbody button')].map((one) => one.textContent)"
    page.click("#genes thead button:text-is('gene')")
    first = page.evaluate(names)
    assert first[1:] == ["COL1A1", "ERBB2", "KRT8", "KRT18", "MALAT1"]
    assert page.get_attribute("#genes th >> nth=0", "aria-sort") == "ascending"
    page.click("#genes thead button:text-is('r')")
    assert page.evaluate(names)[0] == "ERBB2"
    page.click("#genes thead button:text-is('r')")
    assert page.evaluate(names)[0] == "MALAT1"  # unknown


def test_categories_are_named(tab: Tab, folder: Path) -> None:
    tab.open(folder / "squares.html")
    tab.show("archetype")
    adata = tiny_prediction(shape="square", archetypes=5)
    assert len(tab.model("colours", "palette")) == 5
    assert "5 over 80 spots" in tab.page.inner_text("#summary")
    assert f"archetype: {adata.obs['archetype'].iloc[37]}" in tab.hover(37)
    assert tab.model("bar", "ticker.ticks") == [0, 1, 2, 3, 4]
    tab.show("predicted expression")
    assert tab.model("bar", "ticker.type") == "BasicTicker"


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (800, "light"), (1400, "dark")])
def test_it_fits_its_window_by_day_and_night(
    chromium: Any, folder: Path, width: int, scheme: str
) -> None:
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    tab = Tab(context.new_page()).open(folder / "circles.html")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.page.locator("#map").bounding_box()["width"] > 0.4 * min(width, 1000)
    dark = scheme == "dark"
    assert (np.mean(tab.picture()[-8:-4, :4]) < 100) == dark
    text = tab.model("bar", "major_label_text_color")
    assert (int(text[1:3], 16) > 128) == dark
    context.close()
    assert tab.problems == []


@pytest.mark.parametrize("webgl", ["of a card", "of software", None])
def test_it_is_drawn_with_webgl_of_a_graphics_card_or_without(
    tab: Tab, folder: Path, webgl: str | None
) -> None:
    tab.page.add_init_script(
        """const [webgl, RENDERERS] = [WEBGL, [0x1F01, 0x9246]];
        for (const kind of webgl ? [] : [HTMLCanvasElement, OffscreenCanvas]) {
            const getContext = kind.prototype.getContext;
            kind.prototype.getContext = function (name, ...more) {
                return name.includes("webgl") ? null : getContext.call(this, name, ...more);
            };
        }
        const getParameter = WebGLRenderingContext.prototype.getParameter;
        WebGLRenderingContext.prototype.getParameter = function (key) {
            if (!RENDERERS.includes(key)) return getParameter.call(this, key);
            return webgl === "of a card" ? "A Card" : "Google SwiftShader";
        };""".replace("WEBGL", json.dumps(webgl))
    )
    tab.open(folder / "circles.html")
    assert (tab.model("plot", "output_backend") == "webgl") == (webgl == "of a card")
    before = tab.picture()
    tab.choose("COL1A1")
    assert (tab.picture() != before).any(axis=2).mean() > 0.01
    assert "COL1A1, predicted" in tab.hover(37)


def test_a_browser_that_cannot_inflate_says_so(tab: Tab, folder: Path) -> None:
    tab.page.add_init_script("delete window.DecompressionStream")
    tab.page.goto((folder / "circles.html").as_uri())
    assert "too old" in tab.page.inner_text("#summary")


def test_the_index_leads_to_the_pages(tab: Tab, folder: Path) -> None:
    tab.page.goto((folder / "index.html").as_uri())
    assert tab.page.locator("ul.cards > li").count() == 2
    tab.page.click("text=squares")
    tab.settled()
    assert tab.page.title() == "squares: predicted expression"
