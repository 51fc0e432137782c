"""What must hold of a batch folder: read with plain JSON, pystac, odc-stac, rioxarray and hashlib."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import odc.stac
import pystac
import rioxarray

from benchmarks.catalog_items import BANDS, Item
from benchmarks.stac_schemas import validation


def read_states(output: Path) -> dict[str, dict[str, Any]]:
    """State of each pair; one that is being written is as it was."""
    found = {}
    for path in output.glob("*/state.json"):
        try:
            found[path.parent.name] = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
    return found


def check(output: Path, made: Sequence[Item], undisturbed: Path) -> dict[str, Any]:
    """Check a batch folder against what was planted, and against one of a run that was left alone, as far as that one goes.

    Raises
    ------
    AssertionError
        Says what is wrong.
    """
    states, healthy = read_states(output), [item.id for item in made if not item.fault]
    for item in made:
        state = states[item.id]
        wanted = "failed" if item.fault else "done"
        assert state["state"] == wanted, (item, state["reason"])
        assert not item.fault or item.fault.reason in state["reason"], (item, state["reason"])
    left = [path for path in output.rglob(".*") if path.name != ".lock"]
    assert not left, left
    assert all([path.name for path in (output / item.id).iterdir()] == ["state.json"] for item in made if item.fault), (
        "files of a failed pair"
    )
    items = _read(output, healthy)
    alike = [name for name in healthy if (undisturbed / name / f"{name}.json").exists()]
    for name in alike:
        for end in (".tif", "_quality.tif"):  # reports and models say how long it took
            assert _sum(output / name / (name + end)) == _sum(undisturbed / name / (name + end)), (
                f"{name}{end} differs from the undisturbed run"
            )
    return {"healthy": len(healthy), "faulty": len(made) - len(healthy), "items read": len(items), "alike": len(alike)}


def _read(output: Path, healthy: Sequence[str]) -> list[pystac.Item]:
    collection = pystac.Collection.from_file(str(output / "collection.json"))
    items = list(collection.get_items())
    assert sorted(item.id for item in items) == sorted(healthy)
    validate = validation()
    assert not (wrong := validate(json.loads((output / "collection.json").read_text()))), wrong
    for item in items:
        text = json.loads((output / item.id / f"{item.id}.json").read_text())
        assert not (wrong := validate(text)), (item.id, wrong)
        with rioxarray.open_rasterio(item.assets["data"].get_absolute_href()) as image:  # type: ignore[union-attr]
            assert image.sizes["band"] == BANDS
    loaded = odc.stac.load(items, bands=None, chunks={})
    assert len([name for name in loaded.data_vars if name != "quality"]) == BANDS
    assert loaded.sizes["time"] == len(healthy)
    one = odc.stac.load(items[:1], chunks={}).isel(time=0)
    assert all((one[name].values != float(one[name].attrs["nodata"])).any() for name in one.data_vars if name != "quality")
    return items


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
