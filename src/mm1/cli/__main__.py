"""`python -m mm1.cli`: the command line without its installed script."""

import sys

from mm1.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
