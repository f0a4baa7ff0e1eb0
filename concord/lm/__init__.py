"""Language models and tokenizers: loading, batches, shared prefixes, sampling, adapters, training."""
