"""A job in one pass, all stages at once. May import: data, masks, options, store, strategies."""
