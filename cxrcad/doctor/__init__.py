"""Whether this machine can detect: what is tried, and a sentence and a remedy for each thing that is broken."""
