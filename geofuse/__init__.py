"""geofuse: hyperspectral bands at multispectral pixels, from the scene itself.

>>> import geofuse
>>> hsi = geofuse.open_hsi(geofuse.demo_data().hsi)
>>> msi = geofuse.open_msi(geofuse.demo_data().msi)
>>> print(hsi.mossfuse.plan(msi).ratio.__round__(3))
8.333

Importing it registers the accessors ``.mossfuse`` and ``.hsi`` and loads nothing beyond xarray; a public name loads what it needs when it is
first used. The names stand in ``__init__.pyi``.
"""

from importlib.metadata import version

import lazy_loader

from geofuse import accessors as accessors  # registers them with xarray

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("geofuse")
