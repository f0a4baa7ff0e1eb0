"""Judges with a rubric, one module each, found by name: `kind` of an entry of `process_labels.judges`.

A judge module has `PARAMS`, the dataclass of its entry, `load(params, device, dtype, cache)`, which gives the judge, and
`missing(params, where, root)`, which yields what is not there before work starts. The judge's `verdicts` are numbers in
[0, 1] for how well answers do (`concord.rewards.process.judging`).
"""
