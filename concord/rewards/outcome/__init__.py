"""Reward models of whole responses: finetuned classifiers, or linear probes on frozen features."""
