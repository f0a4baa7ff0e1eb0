"""From checked tables to training data: duplicates, splits, leakage, labels, pairs, agreement."""
