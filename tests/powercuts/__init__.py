"""Simulated power cuts: what reaches the disk is recorded, cut anywhere, recovered, compared."""
