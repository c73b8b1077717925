"""python -m unbraid."""

import sys

from unbraid.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
