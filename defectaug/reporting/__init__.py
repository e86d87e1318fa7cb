"""From results to what a person reads: terminal, HTML page, plots, verdict."""
