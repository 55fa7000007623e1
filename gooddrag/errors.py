"""The few errors that users meet. Each message is one sentence: what was got, what is wanted, how to mend it."""

import errno


class BadInput(ValueError):
    """The input can't be used as it is; nothing was changed or written. The command line exits with 2."""


class EditFailed(RuntimeError):
    """The input was fine, but the work could not be finished. The command line exits with 1."""


def is_out_of_memory(error: BaseException) -> bool:
    """PyTorch has no one class for this: CUDA, Apple's GPU and the CPU each say it in their own words."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def is_disk_full(error: OSError) -> bool:
    """No space is left, or none of the user's share."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
