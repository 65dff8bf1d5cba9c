"""Keys that keep the steps of a slot in the process that reads the slot.

Bytewax deals the slots of a source or sink out to its workers in turn, but sends a key to the worker that the
key's hash selects. By their plain names "0" and "1", two slots would share one of two workers, and each batch
of the other slot would cross to it.
"""

WORKERS = 8  # the numbers of workers for which the keys fit
# slot n has the key "n/SUFFIX", whose hash is n modulo each number of workers
_SUFFIXES = (
    *(2403, 669, 249, 157, 1068, 526, 834, 211, 497, 1332, 37, 268, 697, 182, 202, 175),
    *(418, 106, 99, 2435, 544, 826, 1524, 860, 915, 3709, 4384, 1146, 238, 688, 303, 976),
)


def slot_key(slot: str) -> str:
    """Return the key of a slot, which is part of the stored state's format.

    >>> slot_key("1"), slot_of(slot_key("1"))
    ('1/669', 1)
    """
    number = int(slot)
    return f"{slot}/{_SUFFIXES[number]}" if number < len(_SUFFIXES) else slot


def slot_of(key: str) -> int:
    """Return the slot of a key, or of its plain name."""
    return int(key.partition("/")[0])
