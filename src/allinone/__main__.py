"""`python -m allinone`, as torchrun starts it."""

from allinone.cli import main

main()
