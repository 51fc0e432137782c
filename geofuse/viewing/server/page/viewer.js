// The page: controls change the state, and the state is drawn.

import { SwipeMap } from "./map.js";
import { Spectra } from "./spectra.js";
import { startState, writeHash } from "./state.js";

const by = (id) => document.getElementById(id);
const CHANNELS = ["red", "green", "blue"];
let scene, state, map, spectra;
let drawing = 0, picking = 0; // the newest request counts

async function get(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

const option = (value, text) => new Option(text, value);
const bandName = (image, k) => (image.nm[k] === null ? image.names[k] : `${Number(image.nm[k].toFixed(1))} nm`) + (image.good[k] ? "" : " (not usable)");
const rounded = (value) => Number(value.toPrecision(3)).toString();

function fillControls() {
  const { images, presets, indices, quality } = scene;
  by("title").textContent = scene.title;
  document.title = `${scene.title} – geofuse viewer`;
  const facts = Object.values(images).map((image) => `${image.label}: ${image.names.length} bands, ${rounded(image.metres)} m`);
  by("facts").textContent = `${facts.join("; ")}; ${scene.crs}`;
  for (const side of ["left", "right"]) by(side).replaceChildren(...Object.entries(images).map(([name, image]) => option(name, image.label)));
  const groups = new Map([["Bands", presets.map((preset) => option(`bands:${preset.bands.map((k) => k + 1)}`, preset.label))]]);
  groups.get("Bands").push(option("own", "own bands"));
  for (const index of indices) {
    const label = `Index: ${index.domain}`;
    groups.set(label, [...(groups.get(label) ?? []), option(`index:${index.name}`, `${index.name} – ${index.title}`)]);
  }
  by("preset").replaceChildren(...[...groups].map(([label, options]) => {
    const group = document.createElement("optgroup");
    group.label = label;
    group.append(...options);
    return group;
  }));
  const order = images.fused.names.map((_, k) => k).sort((i, j) => images.fused.nm[i] - images.fused.nm[j]);
  for (const channel of CHANNELS) by(channel).replaceChildren(...order.map((k) => option(k + 1, bandName(images.fused, k))));
  by("quality-row").hidden = !quality;
  by("quality-legend").replaceChildren(...(quality ?? []).map(({ colour, words }) => {
    const item = document.createElement("li"), swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = colour;
    item.append(swatch, words);
    return item;
  }));
  by("interval-label").hidden = !scene.uncertainty;
  by("ramp").style.background = `linear-gradient(90deg, ${scene.ramp.join(", ")})`;
}

function drawControls() {
  const { index, bands, stretch } = state, preset = by("preset");
  for (const id of ["left", "right", "stretch", "low", "high", "swipe"]) by(id).value = state[id];
  by("quality").checked = state.quality;
  by("quality-legend").hidden = !state.quality;
  preset.value = index ? `index:${index}` : `bands:${bands}`;
  if (preset.selectedIndex < 0) preset.value = "own";
  by("bands").hidden = Boolean(index);
  CHANNELS.forEach((channel, k) => (by(channel).value = bands[k]));
  for (const id of ["low", "high"]) by(id).disabled = stretch !== "fixed";
  by("divider").style.left = `${state.swipe}%`;
  for (const side of ["left", "right"]) by(`${side}-name`).textContent = scene.images[state[side]].label;
  by("note").textContent = notes().join(" ");
}

// What the chosen images cannot show.
function notes() {
  const said = [];
  for (const name of new Set([state.left, state.right])) {
    const image = scene.images[name];
    if (state.index) {
      if (!scene.indices.find((index) => index.name === state.index).images.includes(name)) said.push(`${image.label}: no bands for ${state.index}.`);
    } else {
      const missing = state.bands.filter((band) => image.standIn[band - 1] === null).map((band) => bandName(scene.images.fused, band - 1));
      if (missing.length) said.push(`${image.label}: no band near ${[...new Set(missing)].join(", ")}.`);
    }
    if (!image.fromAfar) said.push(`${image.label} has no overviews: where it is empty, zoom in.`);
  }
  return said;
}

// Black and white are the same for all images, so that they compare.
async function limits(shown) {
  if (state.stretch === "fixed") return Array(state.index ? 1 : 3).fill([state.low, state.high]);
  return get(`/stretch.json?${shown}&percent=${state.stretch}`);
}

async function draw() {
  drawControls();
  writeHash(state);
  const turn = ++drawing, shown = state.index ? `index=${encodeURIComponent(state.index)}` : `bands=${state.bands}`;
  map.wait("stretch", true);
  try {
    const found = await limits(shown);
    if (turn !== drawing) return;
    const query = `${shown}&limits=${found.flat().map((value) => Number(value.toPrecision(6)))}`;
    map.show("right", state.right, query);
    map.show("left", state.left, query);
    map.show("quality", "quality", state.quality ? "" : null);
    by("ramp-legend").hidden = !state.index;
    if (state.stretch !== "fixed") [by("low").value, by("high").value] = [0, 1].map((side) => rounded(found.reduce((sum, pair) => sum + pair[side], 0) / found.length));
    [by("ramp-low").textContent, by("ramp-high").textContent] = found[0].map(rounded);
  } catch (error) {
    if (turn === drawing) by("note").textContent = error.message;
  }
  if (turn === drawing) map.wait("stretch", false);
}

async function pick(x, y) {
  const turn = ++picking;
  if (!map.holds(x, y)) {
    by("place").textContent = "There is no pixel of the fused image here.";
    return;
  }
  by("place").textContent = "Reading …";
  try {
    const found = await get(`/place.json?x=${x}&y=${y}`);
    if (turn !== picking) return;
    state.place = [x, y];
    map.mark(state.place);
    [by("x").value, by("y").value] = [x, y].map((value) => Number(value.toPrecision(10)));
    const angles = found.lon === null ? "" : `; longitude ${found.lon.toFixed(6)}°, latitude ${found.lat.toFixed(6)}°`;
    by("place").textContent = `x ${by("x").value}, y ${by("y").value} in ${scene.crs}${angles}; row ${found.row}, column ${found.column}`;
    by("place-quality").textContent = found.quality ? `Quality ${found.quality.value}: ${found.quality.words.join("; ")}.` : "";
    by("download").href = `/spectra.csv?x=${x}&y=${y}`;
    by("spectra").hidden = false;
    spectra.show(found);
    writeHash(state);
  } catch (error) {
    if (turn === picking) by("place").textContent = `No spectra: ${error.message}.`;
  }
}

function choosePreset(value) {
  const [kind, what] = [value.slice(0, value.indexOf(":")), value.slice(value.indexOf(":") + 1)];
  state.index = kind === "index" ? what : null;
  if (kind === "bands") state.bands = what.split(",").map(Number);
}

function listen() {
  const on = (id, change) => by(id).addEventListener("change", (event) => {
    change(event.target.value, event.target);
    draw();
  });
  for (const side of ["left", "right"]) on(side, (value) => (state[side] = value));
  on("preset", choosePreset);
  CHANNELS.forEach((channel, k) => on(channel, (value) => (state.bands = state.bands.with(k, Number(value)))));
  on("stretch", (value) => {
    if (value === "fixed") [state.low, state.high] = ["low", "high"].map((id) => Number(by(id).value));
    state.stretch = value;
  });
  for (const id of ["low", "high"]) on(id, (value) => (state[id] = Number(value)));
  on("quality", (_, box) => (state.quality = box.checked));
  by("swipe").addEventListener("input", (event) => {
    state.swipe = Number(event.target.value);
    map.swipe(state.swipe / 100);
    by("divider").style.left = `${state.swipe}%`;
    writeHash(state);
  });
  by("interval").addEventListener("change", (event) => spectra.interval(Number(event.target.value)));
  by("go").addEventListener("submit", (event) => {
    event.preventDefault();
    const [x, y] = ["x", "y"].map((id) => Number(by(id).value));
    map.view(x, y, Math.max(map.map.getZoom(), 0));
    pick(x, y);
  });
  by("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText(location.href);
    by("copy").textContent = "Copied";
    setTimeout(() => (by("copy").textContent = "Copy link to this view"), 2000);
  });
}

async function start() {
  scene = await get("/scene.json");
  state = startState(scene);
  fillControls();
  const remember = () => {
    [state.x, state.y] = map.centre;
    state.zoom = map.map.getZoom();
    writeHash(state);
  };
  map = new SwipeMap(by("map"), scene, { onMove: remember, onPick: pick });
  spectra = new Spectra(scene, { chart: by("chart"), readout: by("readout"), series: by("series"), details: by("table-details"), table: by("table") });
  listen();
  map.swipe(state.swipe / 100);
  map.view(state.x, state.y, state.zoom);
  await draw();
  if (state.place) await pick(...state.place);
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  by("note").textContent = `The viewer could not start: ${error.message}`;
});
