"""A file becomes a `Radiograph` (read), and a radiograph the model's grid (preprocess)."""
