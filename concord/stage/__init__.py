"""What every stage needs: parameters, errors, outputs, progress, checkpoints, code digests."""
