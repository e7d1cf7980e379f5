"""Results out: boxes.json, overlays and curves."""
