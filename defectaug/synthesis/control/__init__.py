"""What the user says about the defects of a run: where, how strong, how large, how many, and how good. No torch."""
