"""How good findings are: matching, FROC, operating points, intervals, subgroups, the paper's figures. No torch."""
