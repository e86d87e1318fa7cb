"""Files in and out: images, masks, manifests, atomic writes, YAML; what all rooms above share. No torch."""
