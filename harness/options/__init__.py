"""The options of a point, typed, composed by Hydra and made into grid points. May import: strategies."""
