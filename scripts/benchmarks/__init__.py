"""What `scripts/bench.py` is made of: rows, contenders, workloads, report."""
