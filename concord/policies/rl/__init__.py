"""Online reinforcement learning on the reward vector, shared by the methods that sample."""
