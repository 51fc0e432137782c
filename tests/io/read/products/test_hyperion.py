from __future__ import annotations

from pathlib import Path

import pytest

from geofuse import open_hsi, open_msi
from geofuse.errors import InvalidCube
from geofuse.simulate.products import hyperion, landsat


@pytest.mark.parametrize("name", ["", "*_B050_L1T.TIF", "*_MTL_L1T.TXT"])
def test_radiance_is_rejected_with_what_to_do(name: str, tmp_path: Path) -> None:
    root = hyperion.write(tmp_path)
    with pytest.raises(InvalidCube, match=r"Hyperion L1T: radiance at the sensor; expected surface reflectance\. Correct it"):
        open_hsi(next(root.glob(name)) if name else root)


def test_landsat_is_not_taken_for_it(tmp_path: Path) -> None:
    assert open_msi(landsat.write(tmp_path, text=True)).encoding["sensor"] == "Landsat 8/9 C2 L2"
