// What is shown, as one plain object, and the same in the part of the address after #, so that a view can be linked to.

export function readHash() {
  const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const number = (key) => (given[key] !== undefined && given[key] !== "" && isFinite(given[key]) ? Number(given[key]) : undefined);
  const bands = (given.bands ?? "").split(",").map(Number);
  return {
    x: number("x"), y: number("y"), zoom: number("zoom"), swipe: number("swipe"),
    left: given.left, right: given.right, index: given.index,
    bands: bands.length === 3 && bands.every(Number.isInteger) ? bands : undefined,
    stretch: given.stretch, low: number("low"), high: number("high"),
    quality: given.quality === "1",
    place: number("px") === undefined || number("py") === undefined ? undefined : [number("px"), number("py")],
  };
}

// The first view: all of the scene, in true colour, the coarse image beside the fused one.
export function startState(scene) {
  const asked = readHash(), images = Object.keys(scene.images), count = scene.images.fused.names.length;
  const [a, b, c, d, e, f] = scene.transform;
  const known = (name, other) => (images.includes(name) ? name : other);
  const inside = (band) => band >= 1 && band <= count;
  const [left] = images;
  return {
    x: asked.x ?? c + (a * scene.width) / 2, y: asked.y ?? f + (e * scene.height) / 2, zoom: asked.zoom,
    left: known(asked.left, left), right: known(asked.right, "fused"), swipe: Math.min(100, Math.max(0, asked.swipe ?? 50)),
    bands: asked.bands?.every(inside) ? asked.bands : scene.presets[0].bands.map((band) => band + 1),
    index: scene.indices.some((index) => index.name === asked.index) ? asked.index : null,
    stretch: ["2", "0.5", "0", "fixed"].includes(asked.stretch) ? asked.stretch : "2",
    low: asked.low ?? 0, high: asked.high ?? 0.3, quality: asked.quality && scene.quality !== null, place: asked.place ?? null,
  };
}

export function writeHash(state) {
  const short = (value) => String(Number(value.toPrecision(12)));
  const pairs = { x: short(state.x), y: short(state.y), zoom: state.zoom, left: state.left, right: state.right, swipe: state.swipe };
  if (state.index) pairs.index = state.index;
  pairs.bands = state.bands.join(",");
  pairs.stretch = state.stretch;
  if (state.stretch === "fixed") Object.assign(pairs, { low: state.low, high: state.high });
  if (state.quality) pairs.quality = 1;
  if (state.place) Object.assign(pairs, { px: short(state.place[0]), py: short(state.place[1]) });
  history.replaceState(null, "", "#" + new URLSearchParams(pairs).toString().replaceAll("%2C", ","));
}
