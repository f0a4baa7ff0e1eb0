"""What scores a response: verifiers, outcome and process reward models, and the reward vector of all of them."""
