"""``fedrec bench table3``: the models of ACMR's Table 3, and ours, on the markets of one machine, split by split.

A run is one entry on one split; it gives a row for every market and every model that it trains on the way. Rows are
appended when a run is whole, and a run that already has its rows is not made again, so that a table can be finished
another day. Protocol ``acmr``: the seed decides the split.
"""

from fedrec.simulation.table3.entries import ENTRIES
from fedrec.simulation.table3.runs import bench

QUICK = ("in", "jp")  # the smallest markets

__all__ = ["ENTRIES", "QUICK", "bench"]
