"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const page = JSON.parse($("page").textContent);
  const summary = $("summary");
  if (!("DecompressionStream" in window)) {
    summary.textContent = "This browser is too old for the map: it cannot inflate its data.";
    return;
  }

  // ---- Data: columns are unpacked when they are looked at (hypergene/report/packed_columns.py).
  async function inflated(id) {
    const text = atob($(id).textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  }

  async function numbers(id, { first, decimals, planes }) {
    const bytes = new Uint8Array(await inflated(id));
    const count = page.spots;
    const unit = 10 ** decimals;
    const values = new Float64Array(count);
    let code = 0;
    for (let i = 0; i < count; i++) {
      let folded = 0;
      for (let plane = planes - 1; plane >= 0; plane--) folded = (folded << 8) | bytes[plane * count + i];
      code += (folded >>> 1) ^ -(folded & 1);
      values[i] = code === 0 ? NaN : (code - 1 + first) / unit;
    }
    return values;
  }

  const [names, x_px, y_px] = await Promise.all([
    inflated("names").then((buffer) => JSON.parse(new TextDecoder().decode(buffer))),
    numbers("x", page.places.x),
    numbers("y", page.places.y),
  ]);
  const x = x_px.map((px) => px * page.mm_per_px[0]);
  const y = y_px.map((px) => px * page.mm_per_px[1]);

  // ---- The map: Bokeh draws; this script sets its data and its window.
  // WebGL made by the processor is slower than a plain canvas, so only a graphics card's is used.
  function hasCard() {
    const gl = document.createElement("canvas").getContext("webgl", { failIfMajorPerformanceCaveat: true });
    if (!gl) return false;
    const known = gl.getExtension("WEBGL_debug_renderer_info");
    const name = String(gl.getParameter(known ? known.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
    return !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
  }
  const described = $("bokeh-map").textContent;
  const drawing = hasCard() ? described : described.replace('"output_backend":"webgl"', '"output_backend":"canvas"');
  await Bokeh.embed.embed_item(JSON.parse(drawing), $("map"));
  const model = (name) => Bokeh.documents[0].get_model_by_name(name);
  const [plot, source, spots, colours, bar, slide, save] =
    ["plot", "spots", "spots-drawn", "colours", "bar", "slide", "save"].map(model);
  const numberTicker = bar.ticker;

  const ends = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  const [left, right] = ends(x);
  const [top, bottom] = ends(y);
  const margin = page.diameter_mm;
  let atHome = true;
  let moving = false;

  // One mm is as many px across as down, whatever the window's shape.
  function look(centreX, centreY, mmPerPx) {
    const [halfX, halfY] = [(mmPerPx * plot.inner_width) / 2, (mmPerPx * plot.inner_height) / 2];
    moving = true;
    plot.x_range.setv({ start: centreX - halfX, end: centreX + halfX });
    plot.y_range.setv({ start: centreY + halfY, end: centreY - halfY });
    moving = false;
  }
  function showAll() {
    const across = (right - left + 2 * margin) / plot.inner_width;
    const down = (bottom - top + 2 * margin) / plot.inner_height;
    look((left + right) / 2, (top + bottom) / 2, Math.max(across, down));
    atHome = true;
  }
  function move(dx, dy, factor) {
    const { start, end } = plot.x_range;
    const mmPerPx = (end - start) / plot.inner_width;
    const [centreX, centreY] = [(start + end) / 2, (plot.y_range.start + plot.y_range.end) / 2];
    look(centreX + dx * 80 * mmPerPx, centreY + dy * 80 * mmPerPx, mmPerPx * factor);
    atHome = false;
  }
  let framed = 0;
  function reframe() {
    if (framed === plot.inner_width * 1e5 + plot.inner_height) return;
    framed = plot.inner_width * 1e5 + plot.inner_height;
    if (atHome) showAll();
    else move(0, 0, 1);
  }
  plot.properties.inner_width.change.connect(reframe);
  plot.properties.inner_height.change.connect(reframe);
  plot.x_range.change.connect(() => { if (!moving) atHome = false; });

  // ---- What is shown.
  const shown = { gene: 0, layer: "expression" };
  let turn = 0;

  const text = (value, { decimals }) => (Number.isFinite(value) ? value.toFixed(decimals) : "unknown");

  function layerShown() {
    const gene = page.genes[shown.gene];
    if (shown.layer === "expression")
      return { about: gene.expression, title: `${gene.name}: predicted, not measured`, unit: `predicted ${page.units}` };
    if (shown.layer === "spread")
      return { about: gene.spread, title: `${gene.name}: predicted spread, ± 1 std`, unit: page.units };
    const about = page.columns[shown.layer];
    return { about, title: about.label, unit: about.unit, categories: about.categories };
  }

  async function draw() {
    const mine = ++turn;
    const gene = page.genes[shown.gene];
    const { about, title, unit, categories = [] } = layerShown();
    $("map").setAttribute("aria-busy", "true");
    const ood = page.columns.find((column) => column.key === "ood_score");
    const [value, expression, spread, unusual] = await Promise.all(
      [about, gene.expression, gene.spread, ood].map((column) => column && numbers(column.id, column)),
    );
    if (mine !== turn) return;
    hovered = { gene, about, title, categories, value, expression, spread, unusual, ood };
    const smallest = 10 ** -about.decimals;
    const [low, high] = categories.length
      ? [-0.5, categories.length - 0.5]
      : [about.low ?? 0, Math.max(about.high ?? 1, (about.low ?? 0) + smallest)];
    colours.setv({ palette: categories.length ? about.palette : page.palettes[$("palette").value], low, high });
    bar.setv({
      title: unit.replace(/\), .*$/, ")"),
      ticker: categories.length
        ? new (Bokeh.Models.get("FixedTicker"))({ ticks: categories.map((_, number) => number) })
        : numberTicker,
      major_label_overrides: new Map(categories.map((name, number) => [number, name])),
    });
    plot.title.text = title;
    save.filename = `${document.title.split(":")[0]} ${title}`.replace(/[^\w.-]+/g, "_");
    source.data = { x, y, value };
    say(gene, about, title, unit, categories);
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (mine === turn) $("map").setAttribute("aria-busy", "false");
    }));
  }

  function say(gene, about, title, unit, categories) {
    const known = `${page.spots.toLocaleString("en")} spots`;
    summary.textContent = categories.length
      ? `${title}, ${unit}: ${categories.length} over ${known}.`
      : `${title} (${unit}): least ${text(about.least, about)}, median ${text(about.median, about)}, ` +
        `greatest ${text(about.greatest, about)} over ${known}; colours from ${text(about.low, about)} to ${text(about.high, about)}.`;
    trust(gene);
    for (const row of $("genes").tBodies[0].rows) {
      const button = row.querySelector("button");
      const chosen = page.genes[button.dataset.gene] === gene;
      row.classList.toggle("chosen", chosen);
      button.setAttribute("aria-pressed", chosen);
    }
  }

  const MEANING = page.meaning;
  const share = (value) => (value === null ? "unknown" : value.toFixed(2));
  function trust(gene) {
    document.querySelector("#trust-title .gene").textContent = gene.name;
    $("class").textContent = gene.class || "unknown";
    $("class").className = `badge ${gene.class || "unknown"}`;
    $("meaning").textContent = MEANING[gene.class] ?? "the model keeps no class of reliability";
    $("r").textContent = gene.r === null ? "never held out"
      : gene.low === null ? share(gene.r) : `${share(gene.r)} (95 %: ${share(gene.low)} to ${share(gene.high)})`;
    $("ceiling").textContent = share(gene.ceiling);
    $("readable").textContent = { spot: "single spots", none: "none of the scales tried", "": "unknown" }[gene.readable_at]
      ?? `${gene.readable_at}: average the prediction over them before reading it`;
    $("coverage").textContent = gene.coverage === null ? "unknown"
      : `held ${Math.round(100 * gene.coverage)} % of held-out spots (80 % would be right)${gene.coverage < 0.6 ? ": its spread is too narrow, read where it is high and not its level" : ""}`;
    const at = (value) => 200 * Math.min(Math.max(value ?? 0, 0), 1);
    $("interval-band").setAttribute("x", at(gene.low));
    $("interval-band").setAttribute("width", gene.low === null ? 0 : at(gene.high) - at(gene.low));
    for (const [mark, value] of [["interval-ceiling", gene.ceiling], ["interval-r", gene.r]])
      $(mark).style.display = value === null ? "none" : "";
    for (const end of ["x1", "x2"]) $("interval-ceiling").setAttribute(end, at(gene.ceiling));
    $("interval-r").setAttribute("cx", at(gene.r));
  }

  // ---- Hover: values of one spot. Text only, whatever a name holds.
  let hovered = null;
  model("hover").tooltips = (_, { index }) => {
    const { gene, about, title, categories, value, expression, spread, unusual, ood } = hovered;
    const tip = document.createElement("div");
    tip.style.cssText = "font: 13px/1.4 system-ui, sans-serif; max-width: 18rem; overflow-wrap: anywhere";
    const line = (label, said) => {
      const row = document.createElement("div");
      row.append(`${label}: `, Object.assign(document.createElement("strong"), { textContent: said }));
      tip.append(row);
    };
    line("spot", names[index]);
    const around = spread ? ` ± ${text(spread[index], gene.spread)}` : "";
    line(`${gene.name}, predicted`, text(expression[index], gene.expression) + around);
    if (about !== gene.expression && about !== gene.spread && about !== ood)
      line(title, categories.length ? categories[value[index]] ?? "unknown" : text(value[index], about));
    if (unusual) line("OOD score", text(unusual[index], ood));
    line("x, y", `${x_px[index].toFixed(0)}, ${y_px[index].toFixed(0)} px`);
    return tip;
  };

  // ---- Controls.
  function choose(number) {
    shown.gene = Number(number);
    if (shown.layer !== "spread") shown.layer = $("layer").value = "expression";
    draw();
  }
  const rows = () => [...$("genes").tBodies[0].rows];
  const matching = () => rows().filter((row) => !row.hidden);
  const sayFound = (said) => { $("found").textContent = said; };

  $("search").addEventListener("input", () => {
    const wanted = $("search").value.trim().toLowerCase();
    for (const row of rows()) row.hidden = !row.dataset.find.includes(wanted);
    const count = matching().length;
    sayFound(count ? `${count} of ${page.genes.length} genes; Enter shows ${best(wanted).name}.`
      : `No gene on this page is called so; hypergene report --genes puts others of the file on it.`);
  });
  function best(wanted) {
    const found = matching().map((row) => page.genes[row.querySelector("button").dataset.gene]);
    const named = (test) => found.find((gene) => test(gene.name.toLowerCase()));
    return named((name) => name === wanted) ?? named((name) => name.startsWith(wanted)) ?? found[0];
  }
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      const gene = best($("search").value.trim().toLowerCase());
      if (gene) choose(page.genes.indexOf(gene));
    } else if (event.key === "ArrowDown") {
      matching()[0]?.querySelector("button").focus();
      event.preventDefault();
    }
  });
  $("genes").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.gene !== undefined) choose(button.dataset.gene);
    else if (button) sort(button.closest("th"));
  });
  $("genes").tBodies[0].addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    const list = matching();
    const next = list.indexOf(event.target.closest("tr")) + step;
    (next < 0 ? $("search") : list[Math.min(next, list.length - 1)].querySelector("button")).focus();
    event.preventDefault();
  });
  function sort(head) {
    const column = head.cellIndex;
    const falling = head.getAttribute("aria-sort") === "ascending" || (column > 1 && column < 4 && head.getAttribute("aria-sort") === "none");
    for (const other of head.parentNode.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const key = (row) => row.cells[column].textContent;
    const number = column > 1 && column < 4;
    const order = rows().sort((a, b) => number
      ? (parseFloat(key(a)) || -2) - (parseFloat(key(b)) || -2)
      : key(a).localeCompare(key(b), "en", { numeric: true }));
    $("genes").tBodies[0].append(...(falling ? order.reverse() : order));
  }
  $("layer").addEventListener("change", () => { shown.layer = $("layer").value; draw(); });
  $("palette").addEventListener("change", draw);
  $("opacity").addEventListener("input", () => { spots.glyph.fill_alpha = { value: $("opacity").value / 100 }; });
  $("slide")?.addEventListener("change", () => { slide.visible = $("slide").checked; });
  $("closer").addEventListener("click", () => move(0, 0, 1 / 1.5));
  $("farther").addEventListener("click", () => move(0, 0, 1.5));
  $("all").addEventListener("click", showAll);
  $("map").addEventListener("keydown", (event) => {
    const steps = {
      ArrowLeft: [-1, 0, 1], ArrowRight: [1, 0, 1], ArrowUp: [0, -1, 1], ArrowDown: [0, 1, 1],
      "+": [0, 0, 1 / 1.5], "=": [0, 0, 1 / 1.5], "-": [0, 0, 1.5],
    };
    if (event.key === "0") showAll();
    else if (steps[event.key]) move(...steps[event.key]);
    else return;
    event.preventDefault();
  });

  // ---- Light and dark: Bokeh's canvas follows the page's colours.
  function paint() {
    const style = getComputedStyle(document.documentElement);
    const [text, background] = ["--text", "--page"].map((name) => style.getPropertyValue(name).trim());
    plot.setv({ background_fill_color: background, border_fill_color: background });
    plot.title.text_color = text;
    bar.setv({ title_text_color: text, major_label_text_color: text, major_tick_line_color: text });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  paint();
  spots.glyph.fill_alpha = { value: $("opacity").value / 100 };
  await draw();
  reframe();
})();
