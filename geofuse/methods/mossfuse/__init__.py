"""MossFuse (arXiv:2412.04802): the network and its losses, fitted to any pair behind the estimator, and trained as published."""
