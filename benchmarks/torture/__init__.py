"""Faults on purpose: what is killed, cut off or damaged ends in a clear error, or recovers."""
