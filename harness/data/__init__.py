"""The sources of groups: drawn specimens, videos of them, DAVIS clips, a folder. May import: options, strategies."""
