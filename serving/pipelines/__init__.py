"""Plain async compositions of steps, with their fallbacks."""
