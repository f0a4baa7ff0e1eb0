"""How a stage runs: parameters, errors, outputs, progress, the runtime, resuming, the code that it depends on."""
