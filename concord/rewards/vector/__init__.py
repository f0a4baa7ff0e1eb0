"""The reward vector, its anchors, and the scalarisers that combine it into one number."""
