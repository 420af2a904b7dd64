"""Strategies with planted faults, by which the judgement of masks is tested: ``python -m harness.certify masks``."""
