"""QGIS plugin: geofuse as Processing algorithms."""

from __future__ import annotations

from typing import Any


def classFactory(interface: Any) -> Any:
    """What QGIS calls to load the plugin."""
    from .plugin import Plugin

    return Plugin()
