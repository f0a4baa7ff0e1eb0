"""The sandbox: generated worlds in three domains whose gold rewards are known functions."""
