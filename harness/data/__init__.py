"""The sources of groups: synthetic specimens, DAVIS clips and a user's folder. May import `options`."""
