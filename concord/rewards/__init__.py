"""What scores a response: verifiers, outcome and process reward models, and their reward vector."""
