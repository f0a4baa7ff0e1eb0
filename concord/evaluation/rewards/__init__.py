"""Reward models on held-out pairs and steps: quality, baselines, calibration, picking an answer."""
