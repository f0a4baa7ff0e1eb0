"""Locked protocols and metrics with intervals."""
