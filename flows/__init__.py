"""The Prefect flow: when and where stages run. dvc.yaml defines the graph; DVC caches results."""
