"""A packaged model at work, without torch: which model, its map, its findings, and many files at once."""
