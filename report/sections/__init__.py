"""One file a section, named like its heading, and beside it what sections share. May import `reading` and `render`."""
