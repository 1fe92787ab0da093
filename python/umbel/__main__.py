"""`python -m umbel` is the command `umbel`."""

import sys

from umbel.cli import main

if __name__ == "__main__":
    sys.exit(main())
