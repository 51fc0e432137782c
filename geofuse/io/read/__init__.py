"""Open rasters as lazy cubes."""
