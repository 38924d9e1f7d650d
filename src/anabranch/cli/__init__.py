"""The command line: `anabranch fit | score | sample | info | report`."""

from anabranch.cli.app import app, main

__all__ = ["app", "main"]
