"""Running a fusion: plan, tiles, dask graph, schedulers, devices."""
