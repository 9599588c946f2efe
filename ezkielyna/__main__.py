"""`python -m ezkielyna` is the command `ezkielyna`."""

from ezkielyna.cli.main import main

main(prog_name="ezkielyna")
