"""Parts of the SAM2 video model called directly and in batches, shared by strategies and by training."""
