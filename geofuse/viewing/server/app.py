"""The addresses of the viewer: its page, what is in the scene, tiles, and spectra. All are read-only, and none names a file."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from geofuse.cube.flags import MEANINGS
from geofuse.cube.georef import crs_name
from geofuse.cube.sources import pixel_size_m
from geofuse.errors import RunError
from geofuse.redact import redact
from geofuse.viewing.server import pictures
from geofuse.viewing.server.guard import Guard
from geofuse.viewing.server.indices import catalogue
from geofuse.viewing.server.layers import FileLayer, Layer, TooFar
from geofuse.viewing.server.pictures import Bands, IndexOf, Shown
from geofuse.viewing.server.places import as_csv, describe_place, plain
from geofuse.viewing.server.scene import NotThere, Scene
from geofuse.viewing.server.threads import ReadingThreads

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".txt": "text/plain"}
_LABELS = {"hsi": "Hyperspectral", "msi": "Multispectral", "fused": "Fused"}
_MOST_PERCENT, _LARGEST = 25.0, 1e30


class Viewer:
    """Answers of the viewer for one scene; pixels are read in threads of their own."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self._about = scene, describe_scene(scene)
        # a spectrum takes a block of every band: neighbours find them decoded, if the same thread reads them
        arrays = [layer.array for layer in scene.layers() if isinstance(layer, FileLayer)]
        self._tiles, self._places = ReadingThreads(arrays), ReadingThreads(arrays, 1)

    def close(self) -> None:
        """Close the files."""
        self._tiles.close()
        self._places.close()

    async def _run(self, threads: ReadingThreads, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run what reads pixels; what it cannot find is status 404, and a file that cannot be read any more 503."""
        try:
            return await asyncio.wrap_future(threads.submit(function, *arguments))
        except NotThere as error:
            raise HTTPException(404, str(error)) from None
        except RunError as error:
            raise HTTPException(503, redact(str(error))) from None

    async def about(self, request: Request) -> Response:
        """What is in the scene, and what the page needs to draw it."""
        return JSONResponse(self._about)

    async def stretch(self, request: Request) -> Response:
        """Black and white of each channel, by percentiles of the fused image."""
        percent = _float(request, "percent")
        if not 0 <= percent <= _MOST_PERCENT:
            raise HTTPException(400, f"percent: expected 0 to {_MOST_PERCENT:g}")
        return JSONResponse(await self._run(self._tiles, pictures.stretch, self.scene, _shown(request, self.scene), percent))

    async def tile(self, request: Request) -> Response:
        """A tile of one image."""
        name, images, shown = request.path_params["image"], self.scene.images(), _shown(request, self.scene)
        layer, limits = images.get(name), _limits(request, 3 if isinstance(shown, Bands) else 1)
        if layer is None:
            raise HTTPException(404, f"no image {name}; expected one of {', '.join(images)}")
        return _tile(await self._run(self._tiles, draw, self.scene, layer, shown, limits, _address(request)))

    async def quality(self, request: Request) -> Response:
        """A tile of the quality layer."""
        if self.scene.quality is None:
            raise HTTPException(404, "there is no quality layer beside this image")
        return _tile(await self._run(self._tiles, draw_quality, self.scene, self.scene.quality, _address(request)))

    async def place(self, request: Request) -> Response:
        """What is known of a place."""
        return JSONResponse(await self._run(self._places, describe_place, self.scene, _float(request, "x"), _float(request, "y")))

    async def table(self, request: Request) -> Response:
        """The spectra of a place, to keep."""
        text = await self._run(self._places, as_csv, self.scene, _float(request, "x"), _float(request, "y"))
        return Response(text, media_type="text/csv", headers={"Content-Disposition": 'attachment; filename="spectra.csv"'})


def make_app(viewer: Viewer) -> Starlette:
    """The ASGI application of a viewer."""
    routes = [
        Route("/scene.json", viewer.about),
        Route("/stretch.json", viewer.stretch),
        Route("/place.json", viewer.place),
        Route("/spectra.csv", viewer.table),
        Route("/tiles/quality/{level:int}/{column:int}/{row:int}.png", viewer.quality),
        Route("/tiles/{image}/{level:int}/{column:int}/{row:int}.png", viewer.tile),
        *(Route(path, _page(content, kind)) for path, (content, kind) in pages().items()),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard)], exception_handlers={HTTPException: _said})


def pages() -> dict[str, tuple[bytes, str]]:
    """Files of the page by address, with their types; no others are served."""
    own, shared = files("geofuse.viewing.server") / "page", files("geofuse.reporting") / "templates" / "style.css"
    found = {"/style.css": shared} | {
        f"/{prefix}{file.name}": file for prefix in ("", "vendor/") for file in (own / prefix).iterdir() if file.is_file()
    }
    known = {path: (file.read_bytes(), kind) for path, file in found.items() for suffix, kind in _TYPES.items() if path.endswith(suffix)}
    return {"/": known.pop("/index.html"), **known}


def describe_scene(scene: Scene) -> dict[str, Any]:
    """The scene in plain JSON values: grid, images with their bands, presets, indices, quality flags."""
    box, table = scene.box, scene.fused.table
    height, width = box.shape
    return {
        "title": scene.title,
        "version": secrets.token_hex(4),  # of the tiles, which browsers keep as long as this server runs
        "crs": crs_name(scene.fused.crs),
        "transform": [float(value) for value in tuple(box.affine)[:6]],
        "metres": pixel_size_m(box),
        "width": width,
        "height": height,
        "levels": pictures.levels(box),
        "tile": pictures.TILE,
        "images": {name: _describe_image(name, layer, scene) for name, layer in scene.images().items()},
        "presets": [{"label": label, "bands": list(at)} for label, at in pictures.presets(table).items()],
        "indices": [
            {"name": index.name, "title": index.title, "domain": index.domain, "images": _images_with(index.name, scene)}
            for index in catalogue().values()
            if index.bands(table) is not None
        ],
        "quality": None
        if scene.quality is None
        else [{"colour": colour, "words": MEANINGS[flag]} for flag, colour in pictures.COLOURS.items()],
        "uncertainty": scene.uncertainty is not None,
        "ramp": ["#" + bytes(colour).hex() for colour in pictures.ramp()[:: 255 // 5]],
    }


def _describe_image(name: str, layer: Layer, scene: Scene) -> dict[str, Any]:
    table, shared = layer.table, scene.fused.table
    stand_in = [pictures.matching((at,), shared, table) for at in range(len(shared))]
    return {
        "label": _LABELS[name],
        "metres": pixel_size_m(layer.box),
        "names": list(table.names),
        "nm": plain(table.wavelength),
        "good": table.good.tolist(),
        "standIn": [None if at is None else at[0] for at in stand_in],
        "fromAfar": layer.seen_from_afar,
    }


def _images_with(index: str, scene: Scene) -> list[str]:
    return [name for name, layer in scene.images().items() if catalogue()[index].bands(layer.table) is not None]


def draw(scene: Scene, layer: Layer, shown: Shown, limits: list[tuple[float, float]], address: tuple[int, int, int]) -> bytes:
    """A tile as PNG; a clear one where the image has no such bands, or cannot be seen from so far."""
    box = pictures.tile_box(scene.box, *address)
    try:
        values = shown.values(layer, scene, box)
    except TooFar:
        values = None
    return pictures.CLEAR if values is None else pictures.png(pictures.picture(values, limits))


def draw_quality(scene: Scene, layer: Layer, address: tuple[int, int, int]) -> bytes:
    """A tile of the quality layer as PNG."""
    box = pictures.tile_box(scene.box, *address)
    try:
        return pictures.png(pictures.flagged(pictures.quality_plane(layer, box)))
    except TooFar:
        return pictures.CLEAR


def _tile(content: bytes) -> Response:
    """An answer that the browser keeps; its address changes with the server."""
    return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


def _page(content: bytes, kind: str) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


async def _said(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail, error.status_code, error.headers)


def _address(request: Request) -> tuple[int, int, int]:
    level, column, row = (int(request.path_params[key]) for key in ("level", "column", "row"))
    return level, column, row


def _shown(request: Request, scene: Scene) -> Shown:
    """What a request asks to see: ``bands``, three numbers from 1, or ``index``, a name."""
    name, count = request.query_params.get("index"), len(scene.fused.table)
    if name is not None:
        if name not in catalogue():
            raise HTTPException(400, "index: expected one that scene.json lists")
        return IndexOf(name)
    numbers = request.query_params.get("bands", "").split(",")
    if len(numbers) != 3 or not all(
        number.isascii() and number.isdigit() and len(number) < 7 and 1 <= int(number) <= count for number in numbers
    ):
        raise HTTPException(400, f"bands: expected three numbers from 1 to {count}, such as 3,2,1")
    red, green, blue = (int(number) - 1 for number in numbers)
    return Bands((red, green, blue))


def _limits(request: Request, channels: int) -> list[tuple[float, float]]:
    try:
        numbers = [float(text) for text in request.query_params.get("limits", "").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 2 * channels or not (np.abs(numbers) < _LARGEST).all():
        raise HTTPException(400, f"limits: expected black and white of {channels} channels, {2 * channels} numbers")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _float(request: Request, key: str) -> float:
    try:
        value = float(request.query_params.get(key, ""))
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise HTTPException(400, f"{key}: expected a number")
    return value
