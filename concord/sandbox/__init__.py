"""The generated world: three domains whose gold rewards are stated functions, so that every claim can be checked."""
