"""MossFuse: the network, its losses, and its training as published."""
