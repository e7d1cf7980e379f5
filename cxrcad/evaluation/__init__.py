"""How good a model is: matching, FROC, operating points, statistics, the paper's figures. No torch."""
