"""From source files to checked tables: records, formats, schemas and the quarantine."""
