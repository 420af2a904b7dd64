"""What a run's folder says, told to people."""

from report.write import write_report

__all__ = ["write_report"]
