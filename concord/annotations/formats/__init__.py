"""Source formats, one module each, found by name. To add one, see docs/how-to/add-a-format.md.

A format that converts one object at a time defines the dataclass `Options` and the function
`annotations(row, options)`. A format that reads its own files defines `Options` and
`read(path, given)`.
"""
