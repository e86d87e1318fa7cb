"""Settings: schema, recipes, and their resolution from recipe < file < flags. Imports no torch."""
