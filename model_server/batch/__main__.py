"""Entry point of `python -m model_server.batch`."""

import sys

from model_server.batch.run import main

if __name__ == "__main__":
    sys.exit(main())
