"""The library behind the graph: everything that the nodes in `tasks` call."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036, an older Python would show a traceback
    sys.exit("Concord needs Python 3.11 or later, and this is " + sys.version.split()[0])
