"""Process reward models: step labels, judges, and a head per objective that scores every step."""
