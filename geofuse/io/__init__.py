"""Rasters in and out: open GeoTIFF and ENVI as lazy cubes, write Cloud-Optimized GeoTIFFs."""
