"""Evaluation protocols, and metrics with intervals."""
