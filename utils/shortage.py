"""Explain in one line what a machine has run out of or refuses, and what to do. No torch."""

import errno
import re

from utils.errors import UserError

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
_OUT_OF_SHARED_MEMORY = ("</torch_", "shared memory(shm)")  # torch's names of shared memory blocks
_OUT_OF_FILES = "too many open files"
_LOST_PEER = ("connection closed by peer", "connection reset by peer", "connection refused", "broken pipe")
# Errors caused by disks and permissions. All others are bugs and keep their traceback.
_REFUSALS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE),
}
SAVE_MEMORY = "halve sampler.batch_size and double sampler.iter_size, the step stays the same"


class ShortageError(UserError):
    """The machine has run out of something, in this process alone."""

    on_every_rank = False


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of any library means that a GPU or the machine is out of memory."""
    named = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    return named or any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def is_lost_peer(error: BaseException) -> bool:
    """Return whether an error means that another process of the run has ended; that one or the launcher says why."""
    return any(words in str(error).lower() for words in _LOST_PEER)


def describe_shortage(error: BaseException) -> str:
    """Return what the machine lacks and what to do; "" for any other error."""
    text = str(error).lower()
    sentence = _relevant_sentence(error)
    if _OUT_OF_FILES in text:
        return f"{sentence}: raise the limit (ulimit -n 65536), or lower dataset.num_workers"
    if any(words in text for words in _OUT_OF_SHARED_MEMORY):
        return (
            f"shared memory is full ({sentence}); make /dev/shm larger (docker run --shm-size=16g), or lower "
            "dataset.num_workers or sampler.batch_size"
        )
    if is_out_of_memory(error):
        return f"out of memory ({sentence}); {SAVE_MEMORY}; or lower dataset.num_workers"
    if not isinstance(error, OSError) or error.errno not in _REFUSALS:
        return ""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}; use another folder (e.g. logging.output_dir=...), or fix its disk or permissions"


def _relevant_sentence(error: BaseException) -> str:
    """Return the sentence of an error message that says what is lacking, else its first sentence."""
    sentences = [part.strip() for part in re.split(r"\. |\n", str(error)) if part.strip()] or [type(error).__name__]
    words = (*_OUT_OF_MEMORY, *_OUT_OF_SHARED_MEMORY, _OUT_OF_FILES)
    found = (sentence for sentence in sentences if any(word in sentence.lower() for word in words))
    return next(found, sentences[0])[:160].rstrip(".")
