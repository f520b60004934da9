"""`python -m cost`."""

import sys

from cost.cli import main

if __name__ == "__main__":
    sys.exit(main())
