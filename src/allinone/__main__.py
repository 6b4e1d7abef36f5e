"""`python -m allinone`, as torchrun starts it."""

import sys
from os.path import dirname

# `python -m` puts the current folder first: it goes before anything that it could replace is imported.
if not sys.flags.safe_path and sys.path[0] != dirname(dirname(__file__)):
    del sys.path[0]

from allinone.cli import main

main()
