"""The few errors that users meet. Each message is one sentence: what was got, what is wanted, how to mend it."""


class BadInput(ValueError):
    """The input can't be used as it is; nothing was changed or written. The command line exits with 2."""


class EditFailed(RuntimeError):
    """The input was fine, but the work could not be finished. The command line exits with 1."""
