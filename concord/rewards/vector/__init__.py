"""The reward vector, its anchors, and the scalarisers that turn it into one number."""
