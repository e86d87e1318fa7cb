"""M as a network, beside the bank."""
