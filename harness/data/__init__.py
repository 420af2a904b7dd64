"""The sources of groups: synthetic specimens, DAVIS clips, a user's folder. May import: options, strategies."""
