"""Where groups come from: synthetic specimens, DAVIS clips, a user's folder. May import `options`."""
