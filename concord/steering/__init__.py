"""Control of a policy at inference: objective weights for multi-head policies, and best-of-K."""
