"""What the toolbox offers: fuse two rasters, and compare the methods on them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from .command import run

METHODS = ("auto", "gem", "sylvester", "hysure", "gsa", "regression", "bicubic", "mossfuse")
INPUTS = {"HSI": "Hyperspectral image: many bands, coarse pixels", "MSI": "Multispectral image: few bands, fine pixels"}
FOLDER = "{}_FOLDER"


class _OfTwoImages(QgsProcessingAlgorithm):
    """An algorithm of an HSI and an MSI, each a layer of the project or a product in a folder."""

    ID = TITLE = HELP = ""

    def name(self) -> str:
        """Id, the command."""
        return self.ID

    def displayName(self) -> str:
        """Name in the toolbox."""
        return self.TITLE

    def shortHelpString(self) -> str:
        """Help beside the dialog."""
        return self.HELP

    def group(self) -> str:
        """Group in the toolbox."""
        return "Fusion"

    def groupId(self) -> str:
        """Id of the group."""
        return "fusion"

    def createInstance(self) -> QgsProcessingAlgorithm:
        """A new one for each run."""
        return type(self)()

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare both images."""
        for name, title in INPUTS.items():
            self.addParameter(QgsProcessingParameterRasterLayer(name, title, optional=True))
            folder = QgsProcessingParameterFile(
                FOLDER.format(name), f"… or the folder of a product ({name})", QgsProcessingParameterFile.Folder, optional=True
            )
            self.addParameter(folder)

    def images(self, parameters: dict[str, Any], context: QgsProcessingContext) -> list[str]:
        """Paths of both images; `QgsProcessingException` where one is missing or no file."""
        found = []
        for name, title in INPUTS.items():
            layer = self.parameterAsRasterLayer(parameters, name, context)
            path = layer.source() if layer is not None else self.parameterAsString(parameters, FOLDER.format(name), context)
            if not path or not Path(path).exists():
                raise QgsProcessingException(
                    f"{title}: found {path or 'nothing'}; expected a layer that is a file, or the folder of a product."
                )
            found.append(path)
        return found


class Fuse(_OfTwoImages):
    """``geofuse fuse``."""

    ID, TITLE = "fuse", "Fuse"
    HELP = (
        "Makes one image with the bands of the hyperspectral and the pixels of the multispectral image: a Cloud-Optimized GeoTIFF with wavelengths. "
        "No input is resampled; they may differ in CRS, extent and origin. Read the warnings in the log and in the report."
    )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare the parameters."""
        super().initAlgorithm(configuration)
        self.addParameter(QgsProcessingParameterEnum("METHOD", "Method", METHODS, defaultValue="auto", usesStaticStrings=True))
        self.addParameter(QgsProcessingParameterBoolean("UNCERTAINTY", "A standard deviation per pixel and band too", False))
        self.addParameter(QgsProcessingParameterString("OPTIONS", "More options of the command line", "", optional=True))
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", "Fused image"))
        self.addParameter(QgsProcessingParameterFileDestination("REPORT", "Report", "HTML (*.html)", optional=True, createByDefault=False))

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        output = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        method = self.parameterAsEnumString(parameters, "METHOD", context)
        words = [self.ID, *self.images(parameters, context), "-o", output, "--method", method]
        if self.parameterAsBoolean(parameters, "UNCERTAINTY", context):
            words.append("--uncertainty")
        if report := self.parameterAsFileOutput(parameters, "REPORT", context):
            words += ["--report", report]
        words += shlex.split(self.parameterAsString(parameters, "OPTIONS", context))
        run(words, feedback)
        return {"OUTPUT": output, "REPORT": report or None}


class CompareMethods(_OfTwoImages):
    """``geofuse evaluate``."""

    ID, TITLE = "evaluate", "Compare methods"
    HELP = "Which method is best on this scene: both images are degraded one step, fused, and compared with the hyperspectral image. The table is in the log."

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare the parameters."""
        super().initAlgorithm(configuration)
        methods = [m for m in METHODS if m not in ("auto", "mossfuse")]
        self.addParameter(
            QgsProcessingParameterEnum("METHODS", "Methods", methods, allowMultiple=True, defaultValue=methods, usesStaticStrings=True)
        )
        self.addParameter(QgsProcessingParameterFileDestination("SCORES", "Scores", "JSON (*.json)", optional=True))

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        methods = ",".join(self.parameterAsEnumStrings(parameters, "METHODS", context))
        scores = self.parameterAsFileOutput(parameters, "SCORES", context)
        words = [self.ID, *self.images(parameters, context), "--methods", methods, *(["--json", scores] if scores else [])]
        feedback.pushInfo(run(words, feedback))
        return {"SCORES": scores or None}
