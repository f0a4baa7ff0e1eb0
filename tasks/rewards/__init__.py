"""What scores a response: exact verifiers, outcome and process reward models, the vector that they make together."""
