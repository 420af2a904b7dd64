"""A document as Markdown, HTML and figures. It knows nothing of runs and imports nothing else of `report`."""
