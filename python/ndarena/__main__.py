"""``python -m ndarena``: trains, evaluates and describes networks in files."""

import sys

from ndarena.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
