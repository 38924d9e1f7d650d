"""The parts of `benchmarks/speed.py`: the work, those who do it, the rounds, the floor and the table."""
