"""The regression gate: a run against a snapshot of an earlier one. May import: all below."""
