"""StyleGAN2 (Karras et al. 2020a), conditional, with ADA (2020b) or DiffAugment (Zhao et al. 2020)."""
