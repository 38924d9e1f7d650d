"""Memory layout and products written by hand, behind plain functions, each beside a plain version of itself."""
