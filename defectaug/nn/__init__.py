"""Small network parts that know nothing of the method they serve."""
