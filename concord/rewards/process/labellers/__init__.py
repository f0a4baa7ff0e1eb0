"""Labellers of steps, one module each, found by name: `labels` of an entry of `process_labels.objectives`.

A labeller module has `NEEDS` (`concord.rewards.process.labelling`) and `label(samples, context)`, which gives a number in
[0, 1] for every step of every sample.
"""
