"""Source formats, one module each, found by name. How to add one: docs/how-to/add-a-format.md.

A format of one object after the other has `Options`, a dataclass, and `annotations(row, options)`. A format that knows
its own files has `Options` and `read(path, given)`.
"""
