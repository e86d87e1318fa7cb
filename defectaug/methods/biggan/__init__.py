"""BigGAN (Brock et al. 2019) at small batches, with DiffAugment (Zhao et al. 2020)."""
