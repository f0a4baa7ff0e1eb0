"""Verifiers: exact checks of a final answer, one module each with a function `verify`, found by name."""
