"""The models that strategies run: their interface (`tracker`), one adapter a family, and loading by name."""
