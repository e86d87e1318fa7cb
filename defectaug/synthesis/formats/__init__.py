"""Further forms of a finished output folder, one file a form."""
