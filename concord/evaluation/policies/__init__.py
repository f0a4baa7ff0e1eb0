"""Policies on the locked protocols: points, samples, fronts, comparisons."""
