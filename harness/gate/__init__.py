"""The regression gate: a run against a snapshot of an earlier one, or against committed code. May import: all below."""
