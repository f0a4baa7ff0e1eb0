"""Policy training: the multi-head model, preference losses, training pairs and training methods."""
