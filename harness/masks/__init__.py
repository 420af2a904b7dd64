"""How masks are compared, scored, pictured and how far they may differ. May import `data` and `store`."""
