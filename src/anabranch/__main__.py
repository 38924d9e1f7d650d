"""`python -m anabranch`: the command line, where the folder of commands is not on the path."""

from anabranch.cli import main

main()
