"""The encoder's stage: groups with their features on disk, shared by points. May import `masks` and what that may."""
