"""The sources of groups: synthetic specimens, DAVIS clips and a user's folder. This wing may import `options`."""
