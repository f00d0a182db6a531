"""Kernels run: chains and step sizes as array axes, the draws in ArviZ's schema, on disk whole or not at all."""
