"""Strategies with planted faults, by which the check of masks is tested: ``python -m harness.certify masks``."""
