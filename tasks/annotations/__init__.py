"""From source files to clean tables: formats, schemas, quarantine, dedupe, splits, leakage, implied pairs."""
