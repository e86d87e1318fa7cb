"""One folder a method, behind the protocols of :mod:`defectaug.methods.base`."""
