"""Pictures; nothing depends on this package."""
