"""One file a section of the report, and beside it what only that section needs. May import `reading` and `render`."""
