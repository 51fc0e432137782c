"""The pair: grids, PSF operators, registration, spectral response, clouds; together the prepared pair that every method is given."""
