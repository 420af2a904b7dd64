"""Documents as Markdown, HTML and figures; nothing of runs is known here. May import: nothing of the project."""
