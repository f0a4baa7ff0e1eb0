"""Command-line evaluation of step scores on files of labelled solutions."""
