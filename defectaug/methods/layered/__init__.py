"""Our generator: a defect is painted as layers over the untouched source."""
