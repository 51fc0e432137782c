// The map: pixels of the fused image are its units, so that nothing is resampled; columns run east and rows south.

const MOST_ZOOM = 5;

export class SwipeMap {
  constructor(element, scene, { onMove, onPick }) {
    this.scene = scene;
    const { width, height, levels } = scene;
    Object.assign(this, { element, waiting: new Set() });
    this.bounds = L.latLngBounds([-height, 0], [0, width]);
    const distance = (a, b) => scene.metres * Math.hypot(a.lng - b.lng, a.lat - b.lat);
    this.map = L.map(element, {
      crs: L.extend({}, L.CRS.Simple, { distance }), minZoom: -levels - 1, maxZoom: MOST_ZOOM, zoomAnimation: false, fadeAnimation: false, attributionControl: false,
      maxBounds: this.bounds.pad(0.5),
    });
    for (const [order, name] of ["right", "left", "quality"].entries()) this.map.createPane(name).style.zIndex = 210 + order;
    this.tiles = Object.fromEntries(["right", "left", "quality"].map((pane) => [pane, this.#layer(pane)]));
    L.control.scale({ imperial: false }).addTo(this.map);
    this.share = 0.5;
    this.map.on("move zoomend resize viewreset", () => this.#clip());
    this.map.on("moveend", onMove);
    this.map.on("click", (event) => onPick(...this.toCrs(event.latlng)));
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target === element) onPick(...this.toCrs(this.map.getCenter()));
    });
  }

  #layer(pane) {
    const layer = L.tileLayer("", {
      pane, bounds: this.bounds, noWrap: true, minZoom: -this.scene.levels - 1, minNativeZoom: -this.scene.levels, maxNativeZoom: 0, maxZoom: MOST_ZOOM,
      tileSize: this.scene.tile, className: "pixels", keepBuffer: 1,
    });
    layer.query = null;
    layer.on("loading", () => this.wait(pane, true)).on("load remove", () => this.wait(pane, false));
    layer.getTileUrl = ({ x, y }) => `/tiles/${layer.image}/${-layer._getZoomForUrl()}/${x}/${y}.png?${layer.query}&v=${this.scene.version}`;
    return layer;
  }

  // Show an image in a pane; no query: nothing.
  show(pane, image, query) {
    const layer = this.tiles[pane];
    if (layer.image === image && layer.query === query) return;
    Object.assign(layer, { image, query });
    if (query === null) layer.remove();
    else if (this.map.hasLayer(layer)) layer.redraw();
    else layer.addTo(this.map);
    this.#clip();
  }

  // Say to those who cannot see it (and to tests) whether the map is complete.
  wait(what, whether) {
    this.waiting[whether ? "add" : "delete"](what);
    this.element.setAttribute("aria-busy", this.waiting.size > 0);
  }

  view(x, y, zoom) {
    if (zoom === undefined) this.map.fitBounds(this.bounds);
    else this.map.setView(this.toMap(x, y), zoom);
    this.#clip();
  }

  swipe(share) {
    this.share = share;
    this.#clip();
  }

  mark(place) {
    this.marker?.remove();
    if (!place) return;
    const [column, row] = this.toMap(...place).map(Math.floor).reverse();
    const style = { interactive: false, fill: false, weight: 2 };
    const square = [[row, column], [row + 1, column + 1]];
    this.marker = L.layerGroup([L.rectangle(square, { ...style, color: "#000", weight: 5 }), L.rectangle(square, { ...style, color: "#fff" })]);
    this.marker.addTo(this.map);
  }

  toCrs({ lat, lng }) {
    const [a, , c, , e, f] = this.scene.transform;
    return [c + a * lng, f - e * lat];
  }

  toMap(x, y) {
    const [a, , c, , e, f] = this.scene.transform;
    return [-(y - f) / e, (x - c) / a];
  }

  // Whether a pixel lies at a place.
  holds(x, y) {
    const [lat, lng] = this.toMap(x, y);
    return lng >= 0 && lng < this.scene.width && lat <= 0 && lat > -this.scene.height;
  }

  get centre() {
    return this.toCrs(this.map.getCenter());
  }

  // Panes move with the map, and the divider stays: what each shows is cut again with every move.
  #clip() {
    if (!this.map._loaded) return;
    const size = this.map.getSize(), corner = this.map.containerPointToLayerPoint([0, 0]), end = this.map.containerPointToLayerPoint(size);
    const middle = corner.x + size.x * this.share;
    this.map.getPane("left").style.clip = `rect(${corner.y}px, ${middle}px, ${end.y}px, ${corner.x}px)`;
    this.map.getPane("right").style.clip = `rect(${corner.y}px, ${end.x}px, ${end.y}px, ${middle}px)`;
  }
}
