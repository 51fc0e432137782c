"""The stages of a run, each a function that takes what the one before it returned.

pair      `geofuse.pipeline.pair`: two cubes become a scene; metadata only, and once a run
prepare   `geofuse.pipeline.fit.prepare`: a bounded sample, geometry, response, consistency
choose    `geofuse.evaluation.wald.choose_method`: where the method is ``auto``
fit       `geofuse.pipeline.fit.fit_scene`: prepare, choose and fit; what it found, for the report (`geofuse.pipeline.describe`)
plan      `geofuse.pipeline.plan`: tiles and memory, from metadata; what cannot be run is rejected here
apply     `geofuse.pipeline.apply`: a lazy mosaic of the tiles

`geofuse.api` and `geofuse.pipeline.job` put them together, open before them, and write and describe after them.
"""
