"""Defect Transfer GAN (Wang et al., BMVC 2022), one file a module of the paper."""
