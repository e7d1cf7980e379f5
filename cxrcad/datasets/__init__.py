"""A folder becomes cases with their truth: one reader for each layout, folds, masks on the model's grid."""
