"""Policy optimisation: the model with action heads, its losses and training pairs, and the methods."""
