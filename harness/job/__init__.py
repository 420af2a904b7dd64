"""The job: a folder of pictures becomes masks, in one run or several. May import: all below."""
