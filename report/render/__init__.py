"""Documents as Markdown, HTML and figures. This package knows nothing of runs and imports nothing else of `report`."""
