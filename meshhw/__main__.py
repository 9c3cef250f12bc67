"""`python -m meshhw`: the same command line as the console script."""

from meshhw.cli.main import run

run()
