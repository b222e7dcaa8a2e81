"""Models that score one item for one user at a time: those of ACMR's table, behind one interface."""
