"""What every stage shares: errors, parameters, outputs, progress, the runtime, model loading and training."""
