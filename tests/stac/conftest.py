"""Offline validation of items and collections against the vendored schemas, and against that of the properties of geofuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource

import geofuse

SCHEMAS = Path(__file__).parent / "schemas"
OWN = Path(geofuse.__file__).parent / "stac" / "geofuse.schema.json"
_CORE = "https://schemas.stacspec.org/v1.1.0/{0}-spec/json-schema/{0}.json"
CORE = {"Feature": _CORE.format("item"), "Collection": _CORE.format("collection")}
PROJJSON = "https://proj.org/schemas/v0.7/projjson.schema.json"


def _address(name: str) -> str:
    """`eo-v2.0.0` → the address that items declare."""
    extension, _, version = name.partition("-")
    return f"https://stac-extensions.github.io/{extension}/{version}/schema.json"


@pytest.fixture(scope="session")
def validate() -> Callable[[dict[str, Any]], list[str]]:
    """Return a function document → messages of the core schema, of every schema that it declares, and of ours; no network."""
    extensions = {_address(path.stem): json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    contents = (
        get_local_schema_cache()
        | extensions
        | {OWN.name: json.loads(OWN.read_text()), PROJJSON: {"$schema": "http://json-schema.org/draft-07/schema#", "not": {}}}
    )
    registry: Registry[Any] = Registry().with_resources([(uri, Resource.from_contents(schema)) for uri, schema in contents.items()])

    def errors(item: dict[str, Any]) -> list[str]:
        item = json.loads(json.dumps(item, allow_nan=False))
        own = [OWN.name] if item["type"] == "Feature" else []
        return [
            f"{uri}: {error.message}"
            for uri in [CORE[item["type"]], *item["stac_extensions"], *own]
            for error in Draft7Validator(contents[uri], registry=registry).iter_errors(item)
        ]

    return errors
