"""From a folder of images to balanced batches: layouts, class maps, decoding, surveys, splits."""
