"""Errors of reading videos."""


class VideoError(ValueError):
    """A video that cannot be read; the message names the file and the cause."""


class UnreadableError(ValueError):
    """Why a file cannot be read, without its name; `VideoSource` makes a `VideoError` of it."""


class DamagedError(ValueError):
    """A picture of a photo or an animation does not decode; those before it do."""


class ChangedError(Exception):
    """The packets of a file are not those of its table: it changed, or a seek went elsewhere."""


class Doubt(Exception):
    """Seeking may give other frames than reading in order does."""


class WrongHeaderError(Exception):
    """Frames have another size than the header of a quickly opened file claims."""
