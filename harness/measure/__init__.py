"""One grid point: its masks, its speed, its cost. May import: all below."""
