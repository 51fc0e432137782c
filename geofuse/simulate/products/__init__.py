"""Small files as products of sensors are delivered, true to the published specifications, of a scene that is known at every place and wavelength.

One module a product, each with ``write(folder)``, which returns what was written: what `geofuse.open_hsi` or `geofuse.open_msi` takes. `truth`
is the scene; `catalogs` makes the STAC items of public catalogs. Those in HDF5 and NetCDF-4 need ``pip install 'geofuse[sensors]'``.

Examples
--------
>>> import tempfile
>>> from pathlib import Path
>>> import geofuse
>>> from geofuse.simulate.products import desis, truth
>>> hsi = geofuse.open_hsi(desis.write(Path(tempfile.mkdtemp()), rows=16, cols=16))
>>> red = hsi.hsi.sel_wavelength(660)[8, 8]
>>> known = truth.footprint(red.x, red.y, [red.wavelength], desis.GSD)[0]
>>> hsi.encoding["sensor"], bool(abs(red - known) < 1e-4)
('DESIS L2A', True)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules={
        *("aviris", "catalogs", "desis", "emit", "enmap", "hyperion", "landsat", "planetscope", "prisma", "sentinel2", "tanager", "truth"),
        "wyvern",
    },
)
