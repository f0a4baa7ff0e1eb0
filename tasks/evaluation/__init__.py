"""Locked protocol, metrics with intervals, fronts, hypervolume and the report."""
