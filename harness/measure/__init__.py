"""One grid point: its masks, its speed, its cost. May import `workload`, `observe`, `stats` and what those may."""
