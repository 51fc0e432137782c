"""Products of sensors as they are delivered: one module a product, each of which cites the specification that it reads by."""
