"""Labellers of steps. Each module is one labeller.

`labels` of an entry of `process_labels.objectives` in params.yaml names a module of this package.
To add a labeller, create `concord/rewards/process/labellers/<name>.py` with two attributes:

- `NEEDS`, a `concord.rewards.process.labelling.Needs`: what the labeller requires.
- `label(samples, context)`: returns a number in [0, 1] for every step of every sample.

No other file needs to change. See `prefix.py` for the smallest example.
"""
