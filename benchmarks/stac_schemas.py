"""Validation of STAC documents without network: by the schemas of pystac, and those of extensions that are kept with the tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource

SCHEMAS = Path(__file__).resolve().parent.parent / "tests" / "stac" / "schemas"
_CORE = "https://schemas.stacspec.org/v1.1.0/{0}-spec/json-schema/{0}.json"
CORE = {"Feature": _CORE.format("item"), "Collection": _CORE.format("collection")}
_PROJJSON = "https://proj.org/schemas/v0.7/projjson.schema.json"


def _address(name: str) -> str:
    """`eo-v2.0.0` → the address that items declare."""
    extension, _, version = name.partition("-")
    return f"https://stac-extensions.github.io/{extension}/{version}/schema.json"


def validation(*items: Path) -> Callable[[dict[str, Any]], list[str]]:
    """A function document → messages of the core schema, of every schema that it declares, and of further ones for items.

    Parameters
    ----------
    *items : pathlib.Path
        Those further ones.

    Raises
    ------
    KeyError
        By the function: a document declares a schema that is not kept.
    """
    extensions = {_address(path.stem): json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    further = {path.name: json.loads(path.read_text()) for path in items}
    without = {_PROJJSON: {"$schema": "http://json-schema.org/draft-07/schema#", "not": {}}}
    contents = get_local_schema_cache() | extensions | further | without
    registry: Registry[Any] = Registry().with_resources([(uri, Resource.from_contents(schema)) for uri, schema in contents.items()])
    validators: dict[str, Draft7Validator] = {}

    def errors(document: dict[str, Any]) -> list[str]:
        document = json.loads(json.dumps(document, allow_nan=False))
        asked = [CORE[document["type"]], *document["stac_extensions"], *(further if document["type"] == "Feature" else ())]
        for uri in set(asked) - set(validators):
            validators[uri] = Draft7Validator(contents[uri], registry=registry)
        return [f"{uri}: {error.message}" for uri in asked for error in validators[uri].iter_errors(document)]

    return errors
