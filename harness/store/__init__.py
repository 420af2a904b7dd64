"""What is kept on disk: runs, their environment, their history. May import `result`, `stats` and `options`."""
