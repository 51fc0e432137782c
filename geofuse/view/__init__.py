"""Pictures; nothing depends on this room."""
