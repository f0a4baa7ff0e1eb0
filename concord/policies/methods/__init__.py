"""Training methods for policies. Each module is one method.

`method` of an entry of `policies` in params.yaml names a module of this package. To add a method,
create `concord/policies/methods/<name>.py` with two attributes:

- `METHOD`, a `concord.policies.job.Method`: the dataclass of the method's parameters and what the
  method supports.
- `run(job)`: trains the policy that a `concord.policies.job.PolicyJob` describes. It writes the
  policy to `job.folder` and the training curve to `job.curve`.

No other file needs to change. See `reference.py` for the smallest example.
"""
