"""Evaluation of reward models: pairs, steps, grades, and picking among answers."""
