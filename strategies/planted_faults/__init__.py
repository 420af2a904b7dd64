"""Strategies with planted faults, by which the harness's judgement of masks is tested (`python -m harness.certify masks`)."""
