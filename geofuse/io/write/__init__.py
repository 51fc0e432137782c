"""Write cubes: staged, verified, complete or absent, resumed after an interruption."""
