"""The library behind the graph: everything that the nodes in `tasks` call."""
