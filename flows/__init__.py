"""Prefect: when and where the graph runs. The graph itself stands in dvc.yaml, and its results in DVC's cache."""
