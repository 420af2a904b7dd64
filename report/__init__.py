"""Reports of a run's folder for people: Markdown, HTML and figures."""

from report.write import write_report

__all__ = ["write_report"]
