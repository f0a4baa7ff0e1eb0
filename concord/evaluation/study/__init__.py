"""Comparisons of a steered policy with specialists, at equal KL, over weights and seeds."""
