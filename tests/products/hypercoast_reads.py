"""Run by a Python that has hypercoast: reads a product with it and saves values (band, y, x), wavelengths and places as ``.npz``.

python tests/products/hypercoast_reads.py KIND PRODUCT OUT.npz
"""

if __name__ == "__main__":
    import sys

    import hypercoast
    import numpy as np
    import rasterio

    _, kind, path, out = sys.argv
    if kind == "Wyvern":  # whose wavelengths it would fetch from the network
        with rasterio.open(path) as file:
            read = hypercoast.read_wyvern(path, wavelength_list=[float(file.tags(band)["Wavelength"]) for band in file.indexes])
    else:
        read = getattr(hypercoast, f"read_{kind.lower()}")(path)
    read = read[0] if isinstance(read, tuple) else read
    names = {"y": ("y", "latitude"), "x": ("x", "longitude"), "band": ("wavelength", "wavelengths")}
    variable = next(name for name in ("reflectance", "surface_reflectance") if name in read)
    dims = {role: next(name for name in given if name in read[variable].dims) for role, given in names.items()}
    places = {axis: read[next(name for name in reversed(names[axis]) if name in read.coords)].values for axis in ("y", "x")}
    values = read[variable].transpose(dims["band"], dims["y"], dims["x"]).values
    np.savez(
        out, values=values, wavelength=read[names["band"][0] if names["band"][0] in read.coords else names["band"][1]].values, **places
    )
