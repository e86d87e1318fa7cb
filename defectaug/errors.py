"""Errors that the user can mend. The command line prints them as one line and exits with code 2."""


class DefectaugError(Exception):
    """Base of all errors whose message tells a person what is wrong, where, and what to do."""


class DataError(DefectaugError):
    """A data folder, class map or image that cannot be used."""


class ConfigError(DefectaugError):
    """A setting, recipe or command line option that cannot be used."""


class BundleError(DefectaugError):
    """A model folder that is missing, cut short, damaged or of another version."""


class OutputError(DefectaugError):
    """An output folder or file that cannot be written."""


class TrainingError(DefectaugError):
    """A training run that stopped on its own: not finite, or collapsed."""


class PeerError(DefectaugError):
    """Another process of a run on several has stopped."""
