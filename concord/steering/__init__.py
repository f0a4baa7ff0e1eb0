"""Control at inference: a policy at chosen weights, best-of-K."""
