"""One file a section, named like its heading. May import: harness, reading, render, strategies."""
