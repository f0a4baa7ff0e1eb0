"""Step scores measured on files of labelled solutions, from the command line."""
