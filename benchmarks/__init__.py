"""What using Anymail costs, measured: `python -m benchmarks` prints one table of it.

Each module here is one topic. Variants are run in turn, in one process and one run, so that what
else the machine does falls on all of them; the figures are medians. Compare ratios, not seconds.
"""
