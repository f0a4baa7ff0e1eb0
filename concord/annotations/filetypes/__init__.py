"""The kinds of files that sources may be: JSON Lines, whole JSON, CSV, Parquet and Arrow.

Each module yields a `Record` for every row of a file. `row_counts` counts the rows of a file by
other means. `concord.annotations.files` chooses the module by the extension.
"""
