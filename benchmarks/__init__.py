"""The benchmark: methods on simulated pairs of real scenes, by Wald's protocol. See `docs/benchmarks/README.md`."""
