"""Verifiers: exact checks of a final answer. Each module with a function `verify` is one verifier.

`verifier` of an objective in params.yaml names a module of this package. To add a verifier, create
`concord/rewards/verifiers/<name>.py` with a function `verify(response, reference)`. It returns 1
for a correct answer, 0 for a wrong one, and NaN if `reference` is None. No other file needs to
change.
`dispatch.py` explains how to use a verifier from outside of this package.
"""
