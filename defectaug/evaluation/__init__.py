"""Folders in, numbers out: every method is scored alike. No torch so far."""
