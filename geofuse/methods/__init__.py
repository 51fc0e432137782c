"""The fusion methods: one protocol, one registry, one module or package for each."""
