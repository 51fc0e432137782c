"""What a cube is: its schema, band table, stored values, CRS, and arrays from elsewhere."""
