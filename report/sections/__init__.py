"""One file a section, named like its heading, and what they share. May import: harness, reading, render, strategies."""
