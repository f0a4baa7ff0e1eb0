"""Concord's graph, one file a node: check, ingest, prepare, sft, reward models, policies, evaluation, export."""
