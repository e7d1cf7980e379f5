"""Models at work on test cases: their findings matched with the truth, and kept to be used again. No torch."""
