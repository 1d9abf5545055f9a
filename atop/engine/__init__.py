"""The seam between objects and bytes, and what stands behind it."""
