"""The point-spread function as a linear operator between the two grids."""
