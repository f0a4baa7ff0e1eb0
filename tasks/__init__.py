"""The stages of Concord, one file per stage of dvc.yaml."""
