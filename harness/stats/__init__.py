"""Speed-ups and intervals from paired measurements. This wing may import `strategies.errors` alone."""
