"""Ours: a defect is a mask, a structure without tone, and a style, added to the untouched source."""
