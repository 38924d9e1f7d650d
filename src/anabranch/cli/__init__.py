"""The command line: `anabranch fit | score | sample | impute | query | detect | cluster | report | info | gallery`."""

from anabranch.cli.app import app, main

__all__ = ["app", "main"]
