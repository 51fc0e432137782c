// Spectra of a pixel: a chart, and the same numbers as a table.

const LOOKS = { fused: { width: 2 }, hsi: { width: 1.5, dash: [6, 4] }, msi: { width: 0, points: true } };
const COLOURS = { hsi: "--coarse", msi: "--fine", fused: "--fused" };
// Of uPlot.join: gaps stay gaps where other images have bands within them.
const EXPAND = 2;
const ORDER = ["fused", "hsi", "msi"];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const node = (tag, text, attributes = {}) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};
const digits = (value) => (value === null || value === undefined ? "–" : value.toFixed(4));

export class Spectra {
  constructor(scene, elements) {
    Object.assign(this, { scene, elements, factor: 1, found: null });
    this.byWavelength = scene.images.fused.nm.every((nm) => nm !== null);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.found && this.#draw());
    new ResizeObserver(() => this.chart?.setSize(this.#size())).observe(elements.chart);
    elements.details.addEventListener("toggle", () => this.#fillTable());
  }

  show(found) {
    this.found = found;
    this.#draw();
    this.#fillTable();
  }

  interval(factor) {
    this.factor = factor;
    if (this.found) this.#draw();
  }

  #name(image) {
    return this.scene.images[image].label;
  }

  // Position of each band along the axis, or nothing where an image has none.
  #axis(name) {
    const { nm, names } = this.scene.images[name];
    if (this.byWavelength) return nm.every((value) => value !== null) ? nm : null;
    return names.length === this.scene.images.fused.names.length ? names.map((_, k) => k + 1) : null;
  }

  // A spectrum as a line: by wavelength, broken at bands that are not usable, and where there are no bands (water vapour).
  #line(name, columns) {
    const axis = this.#axis(name), { good } = this.scene.images[name];
    const order = axis.map((_, k) => k).sort((i, j) => axis[i] - axis[j]);
    const steps = order.slice(1).map((k, i) => axis[k] - axis[order[i]]).sort((p, q) => p - q);
    const widest = Math.max(5 * (steps[steps.length >> 1] ?? 0), 40);
    const made = [[], ...columns.map(() => [])];
    order.forEach((k, i) => {
      const before = axis[order[i - 1]];
      if (i && LOOKS[name].width && axis[k] - before > widest) made.forEach((column, c) => column.push(c ? null : (before + axis[k]) / 2));
      if (i && axis[k] === before) return;
      made.forEach((column, c) => column.push(c ? (good[k] ? columns[c - 1][k] : null) : axis[k]));
    });
    return made;
  }

  #size() {
    return { width: Math.max(240, this.elements.chart.clientWidth), height: 240 };
  }

  #draw() {
    const { spectra, deviation } = this.found;
    const tables = [], series = [{}], bands = [], shown = [];
    for (const name of ORDER) {
      if (!spectra[name] || !this.#axis(name)) continue;
      const look = LOOKS[name], stroke = colour(COLOURS[name]), columns = [spectra[name]];
      series.push({ label: this.#name(name), stroke: look.width ? stroke : "transparent", width: look.width, dash: look.dash,
        points: { show: Boolean(look.points), size: 8, fill: stroke, stroke: colour("--page"), width: 1 } });
      shown.push({ name, at: series.length - 1 });
      if (name === "fused" && deviation) {
        const edge = (side) => spectra.fused.map((value, k) => (value === null || deviation[k] === null ? null : value + side * this.factor * deviation[k]));
        columns.push(edge(1), edge(-1));
        for (let side = 0; side < 2; side++) series.push({ stroke: "transparent", width: 0, points: { show: false } });
        bands.push({ series: [series.length - 2, series.length - 1], fill: colour("--fused") + "40" });
      }
      tables.push(this.#line(name, columns));
    }
    this.chart?.destroy();
    const axis = { stroke: colour("--ink"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, font: "12px system-ui, sans-serif" };
    const options = {
      ...this.#size(), series, bands, legend: { show: false }, scales: { x: { time: false } }, cursor: { drag: { x: true, y: false } },
      axes: [{ ...axis, values: (_, marks) => marks.map(String), label: this.byWavelength ? "wavelength (nm)" : "band", labelFont: axis.font, labelSize: 20, size: 34 },
        { ...axis, label: "reflectance", labelFont: axis.font, labelSize: 20, size: 48 }],
      hooks: { setCursor: [(chart) => this.#readOut(chart, shown)] },
    };
    this.chart = tables.length ? new uPlot(options, uPlot.join(tables, tables.map((table) => table.map(() => EXPAND))), this.elements.chart) : null;
    this.#legend(shown.map(({ name }) => name), Boolean(deviation));
  }

  #readOut(chart, shown) {
    const at = chart.cursor.idx;
    const values = at === null || at === undefined ? [] : shown.filter((item) => chart.data[item.at][at] != null);
    const text = values.map((item) => `${this.#name(item.name).toLowerCase()} ${digits(chart.data[item.at][at])}`).join(", ");
    this.elements.readout.textContent = text ? `${chart.data[0][at].toFixed(1)}${this.byWavelength ? " nm" : ""}: ${text}` : "\u00a0";
  }

  #legend(names, deviation) {
    const keys = names.map((name) => this.#key(this.#name(name), colour(COLOURS[name]), LOOKS[name]));
    if (deviation) keys.splice(1, 0, this.#key(`± ${this.factor} σ`, colour("--fused") + "40", { fill: true }));
    if (this.scene.images.fused.good.includes(false)) keys.push(node("li", "gaps: bands without usable signal", { class: "quiet" }));
    this.elements.series.replaceChildren(...keys);
  }

  #key(text, stroke, look) {
    const canvas = node("canvas", "", { class: "key", width: 52, height: 28, "aria-hidden": "true" }), pen = canvas.getContext("2d");
    Object.assign(pen, { strokeStyle: stroke, fillStyle: stroke, lineWidth: 4 });
    if (look.fill) pen.fillRect(0, 4, 52, 20);
    else if (look.points) {
      pen.arc(26, 14, 8, 0, 2 * Math.PI);
      pen.fill();
    } else {
      pen.setLineDash((look.dash ?? []).map((part) => 2 * part));
      pen.beginPath();
      pen.moveTo(0, 14);
      pen.lineTo(52, 14);
      pen.stroke();
    }
    const item = node("li");
    item.append(canvas, node("span", text));
    return item;
  }

  // Made when it is opened: some hundred rows.
  #fillTable() {
    if (!this.found || !this.elements.details.open) return;
    const { spectra, deviation } = this.found, rows = new Map();
    const names = ORDER.filter((name) => spectra[name] && this.#axis(name));
    for (const name of names) {
      this.#axis(name).forEach((place, k) => {
        const row = rows.get(place) ?? {};
        row[name] = this.scene.images[name].good[k] ? digits(spectra[name][k]) : "not usable";
        if (name === "fused" && deviation) row.deviation = digits(deviation[k]);
        rows.set(place, row);
      });
    }
    const columns = names.flatMap((name) => (name === "fused" && deviation ? ["fused", "deviation"] : [name]));
    const head = node("tr");
    head.append(...[this.byWavelength ? "nm" : "band", ...columns.map((name) => (name === "deviation" ? "σ" : this.#name(name)))].map((text) => node("th", text, { scope: "col" })));
    const table = node("table", undefined, { class: "numbers" }), body = table.createTBody();
    table.append(node("caption", "Reflectance by image"));
    table.createTHead().append(head);
    for (const [place, row] of [...rows].sort(([p], [q]) => p - q)) {
      const line = body.insertRow();
      line.append(node("th", this.byWavelength ? place.toFixed(1) : place, { scope: "row" }), ...columns.map((name) => node("td", row[name] ?? "")));
    }
    this.elements.table.replaceChildren(table);
  }
}
