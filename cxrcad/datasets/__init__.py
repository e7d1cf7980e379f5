"""A folder becomes cases with their truth: JSRT's layout, folds, masks on the grid, phantoms, simulated nodules."""
