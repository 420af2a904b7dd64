"""The encoder's stage, whose features points share. May import: data, masks, options, schema, store, strategies."""
