"""`python -m minivis` is the `minivis` command.

Not here: the command itself; see cli.py.
"""

import sys

from minivis.cli import main

sys.exit(main())
