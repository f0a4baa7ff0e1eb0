"""Process reward models: step labels, judges, and a model that scores every step of a response."""
