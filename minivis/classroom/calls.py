"""System calls that an isolated submission may not make, because they would let it escape its limits.

Not here: which files it sees (isolation.py). The filter is a seccomp program in classic BPF, run by the kernel.
"""

import errno
import struct

__all__ = ["refused_calls"]

# New processes (each would have limits of its own), new user namespaces (their owner may mount), and memory that
# belongs to no process. Key: platform.machine(); values: the numbers in the kernel's tables.
REFUSED = {
    "x86_64": {"fork": 57, "vfork": 58, "unshare": 272, "memfd_create": 319, "shmget": 29},
    "aarch64": {"unshare": 97, "memfd_create": 279, "shmget": 194},
}
CLONE = {"x86_64": 56, "aarch64": 220}  # makes threads (allowed) and processes (refused)
CLONE3 = 435  # the same, but its flags are in memory, which a filter cannot read
CLONE_THREAD = 0x10000
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000  # from here on: other numbers for the calls of x86_64
# BPF: operations; offsets of what they load (call number, architecture, first argument); return values
LOAD, EQUAL, AT_LEAST, ANY_BIT, GIVE = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, CALLER, ARGUMENT = 0, 4, 16
ALLOW, ERROR = 0x7FFF0000, 0x50000


def refused_calls(machine):
    """The filter as bytes, for bubblewrap's option ``--seccomp``.

    Parameters
    ----------
    machine : str
        What `platform.machine()` returns. An unknown machine refuses nothing.

    Returns
    -------
    bytes
    """
    if machine not in REFUSED:
        return _step(GIVE, ALLOW)
    refuse = _step(GIVE, ERROR | errno.EPERM)
    program = _step(LOAD, CALLER) + _step(EQUAL, ARCHITECTURE[machine], 1, 0) + refuse + _step(LOAD, NUMBER)
    for number in REFUSED[machine].values():
        program += _step(EQUAL, number, 0, 1) + refuse
    program += _step(AT_LEAST, X32, 0, 1) + refuse
    program += _step(EQUAL, CLONE3, 0, 1) + _step(GIVE, ERROR | errno.ENOSYS)  # libc then falls back to clone
    program += _step(EQUAL, CLONE[machine], 0, 3)
    program += _step(LOAD, ARGUMENT) + _step(ANY_BIT, CLONE_THREAD, 1, 0) + refuse
    return program + _step(GIVE, ALLOW)


def _step(operation, operand, if_so=0, if_not=0):
    """One instruction, and how many of the next ones to skip: ``if_so`` if its condition holds, else ``if_not``."""
    return struct.pack("HBBI", operation, if_so, if_not, operand)
