"""A point in a process of its own, and what went wrong there. May import: all below."""
