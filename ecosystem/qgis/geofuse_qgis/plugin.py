"""The plugin and its provider: registered when QGIS starts, taken away when the plugin is switched off."""

from __future__ import annotations

from qgis.core import QgsApplication, QgsProcessingProvider

from .algorithms import CompareMethods, Fuse


class Provider(QgsProcessingProvider):
    """The algorithms of geofuse in the Processing toolbox."""

    def id(self) -> str:
        """Prefix of the algorithms' ids."""
        return "geofuse"

    def name(self) -> str:
        """Name in the toolbox."""
        return "geofuse"

    def loadAlgorithms(self) -> None:
        """Add the algorithms."""
        for algorithm in (Fuse, CompareMethods):
            self.addAlgorithm(algorithm())


class Plugin:
    """What QGIS loads."""

    def __init__(self) -> None:
        self.provider: Provider | None = None

    def initProcessing(self) -> None:
        """Register the provider; all that qgis_process needs."""
        self.provider = Provider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        """Register the provider in the desktop."""
        self.initProcessing()

    def unload(self) -> None:
        """Take it away."""
        QgsApplication.processingRegistry().removeProvider(self.provider)
