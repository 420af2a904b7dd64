"""The benchmark of batching strategies; `python -m harness` is the way in, and each package says what lives there."""
