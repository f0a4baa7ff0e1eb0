"""The report page: figures, charts, claims."""
