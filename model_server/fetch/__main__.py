"""Entry point of `python -m model_server.fetch`."""

import sys

from model_server.fetch.version import main

if __name__ == "__main__":
    sys.exit(main())
