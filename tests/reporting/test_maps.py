"""The placed pictures of a report, drawn from nothing but the record."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geofuse.reporting.maps import draw_layers, draw_part, draw_residuals, draw_scene
from geofuse.reporting.pictures import encoded_flags, encoded_map, excerpt
from geofuse.reporting.report import Report

EXTENT = (384_000.0, 384_360.0, 5_817_000.0, 5_817_360.0)


def part(**changed: Any) -> dict[str, Any]:
    ramp = np.broadcast_to(np.linspace(0, 0.4, 40), (3, 40, 40)).copy()
    return excerpt(ramp, ramp, ramp, EXTENT, "EPSG:32633") | {"metres": 1.0} | changed


def test_coordinates_and_a_scale_bar_are_drawn() -> None:
    figure = draw_part({"pictures": part()})
    assert figure is not None
    coarse, fine, fused = figure.axes
    assert [ax.get_title(loc="left").split()[0] for ax in figure.axes] == ["hyperspectral", "multispectral", "fused"]
    assert tuple(coarse.images[0].get_extent()) == EXTENT
    figure.canvas.draw()
    assert {"384100", "384200", "384300"} <= {text.get_text() for text in fine.get_xticklabels()}
    assert {"5817100", "5817200", "5817300"} <= {text.get_text() for text in coarse.get_yticklabels()}
    assert coarse.get_ylabel() == "EPSG:32633"
    assert [text.get_text() for text in fused.texts] == ["100 m"]
    assert np.ptp(fused.lines[0].get_xdata()) == pytest.approx(100)


def test_a_bar_is_in_metres_where_the_map_is_in_feet_and_absent_where_it_is_in_degrees() -> None:
    feet = draw_part({"pictures": part(metres=0.3048)})
    degrees = draw_part({"pictures": part(metres=0.0)})
    assert feet is not None
    assert degrees is not None
    assert [text.get_text() for text in feet.axes[2].texts] == ["20 m"]
    assert np.ptp(feet.axes[2].lines[0].get_xdata()) == pytest.approx(20 / 0.3048)
    assert not degrees.axes[2].texts


def test_the_quality_layer_is_drawn_where_there_is_one() -> None:
    layer = np.ones((30, 20), np.uint8)
    layer[:5], layer[10, 10], layer[12, 12] = 0, 1 | 2, 1 | 8
    scene = part(quality=encoded_flags(layer))
    figure = draw_layers({"scene": scene})
    assert figure is not None
    (quality,) = figure.axes
    shown = np.asarray(quality.images[0].get_array())
    assert [shown[0, 0], shown[20, 10], shown[10, 10], shown[12, 12]] == [0, 1, 2, 4]
    legend = quality.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["nodata", "good", "one image only", "outside the physical range"]
    page = Report({"scene": scene, "quality": {"good": 0.98, "masked": 0.02}}).to_html()
    assert "98.00 %" in page
    assert draw_layers({"scene": part()}) is None
    assert "<img" not in Report({"quality": {"good": 0.98}}).to_html()


def test_maps_are_placed_and_on_the_scale_of_their_numbers() -> None:
    values = np.full((20, 20), 0.01)
    values[5:, 5:] = 0.04
    stored = part(hsi_residual=encoded_map(values), uncertainty=encoded_map(values / 2))
    figure = draw_residuals({"pictures": stored})
    assert figure is not None
    residual, deviation = figure.axes
    assert [ax.get_title(loc="left") for ax in (residual, deviation)] == ["residual, hyperspectral", "standard deviation"]
    assert tuple(residual.images[0].get_extent()) == EXTENT
    shown = np.asarray(residual.images[0].get_array())
    assert shown[0, 0] == pytest.approx(0.01, abs=0.001)
    assert shown[-1, -1] == pytest.approx(0.04, abs=0.001)
    assert np.asarray(deviation.images[0].get_array()).max() == pytest.approx(0.02, abs=0.001)


def test_the_scene_shows_where_the_part_lies_and_the_part_its_places() -> None:
    west, east, south, north = EXTENT
    wide = part(extent=[west - 500, east + 500, south - 500, north + 500])
    record = {"scene": wide, "pictures": part(), "spectra": [{"why": "chosen", "x": 384_100.0, "y": 5_817_200.0}, {"x": None}]}
    scene, detail = draw_scene(record), draw_part(record)
    assert scene is not None
    assert detail is not None
    box = scene.axes[2].lines[2]  # after the scale bar
    assert (min(box.get_xdata()), max(box.get_ydata())) == (west, north)
    for ax in detail.axes:
        assert tuple(ax.lines[-1].get_xydata()[0]) == (384_100.0, 5_817_200.0)
    same = draw_scene({"scene": part(), "pictures": part()})
    assert same is not None
    assert len(same.axes[2].lines) == 2, "the scale bar alone"


@pytest.mark.parametrize("extent", [None, [1, 2, 3], [2, 1, 0, 1], ["a", 1, 0, 1]])
def test_pictures_without_a_place_are_drawn_without_coordinates(extent: Any) -> None:
    figure = draw_part({"pictures": part(extent=extent)})
    assert figure is not None
    assert not figure.axes[0].get_xticks().size
