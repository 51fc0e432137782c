"""Readers of sensors' products as they are delivered, a module each."""
