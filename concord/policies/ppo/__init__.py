"""PPO (arXiv 1707.06347) with a vector critic: one value head per objective."""
