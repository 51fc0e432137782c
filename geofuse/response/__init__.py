"""Forward operators: point-spread function and spectral response."""
