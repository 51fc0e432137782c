"""GEM, the guided EM-calibrated MAP: the estimator of geofuse."""
