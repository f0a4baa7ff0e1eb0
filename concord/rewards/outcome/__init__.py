"""Reward models of whole responses: one backbone with a head per objective, or probes on frozen features."""
