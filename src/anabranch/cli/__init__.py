"""The command line: `anabranch fit | score | sample | info`."""

from anabranch.cli.app import app, main

__all__ = ["app", "main"]
