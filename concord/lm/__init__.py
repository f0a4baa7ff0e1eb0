"""Language models and tokenizers: loading, batching, sampling, adapters and training."""
