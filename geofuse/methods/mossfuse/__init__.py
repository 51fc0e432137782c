"""MossFuse (arXiv:2412.04802): the network, its losses, and its training as published."""
