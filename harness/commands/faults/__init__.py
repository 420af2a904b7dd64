"""Planted faults, by which the harness's judgement of masks is tested. May import: strategies."""
