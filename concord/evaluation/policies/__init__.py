"""Evaluation of policies: operating points, samples, fronts, comparisons."""
