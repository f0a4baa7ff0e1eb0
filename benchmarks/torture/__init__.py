"""Faults on purpose: what is killed, cut off or damaged ends in a clear error, or recovers."""

import os

os.environ.setdefault("TQDM_DISABLE", "1")  # tqdm reads it when it is imported
