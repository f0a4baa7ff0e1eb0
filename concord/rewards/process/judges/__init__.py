"""Judges that grade answers by a rubric. Each module is one kind of judge.

`kind` of an entry of `process_labels.judges` or of `evaluate.judge.judges` in params.yaml names a
module of this package. To add a kind, create `concord/rewards/process/judges/<name>.py` with three
attributes:

- `PARAMS`: the dataclass of an entry in params.yaml.
- `load(params, device, dtype, cache)`: returns a `concord.rewards.process.judging.Judge`. Its
  method `verdicts` returns numbers in [0, 1], higher for better answers. `cache` is a folder in
  which the judge can store replies.
- `missing(params, where, root)`: yields a message for each prerequisite that is missing, such as a
  model folder. `where` is the path of the entry in params.yaml.

No other file needs to change.
"""
