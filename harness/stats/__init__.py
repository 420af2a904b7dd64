"""Speed-ups and intervals from paired measurements. May import: strategies."""
