"""System calls that an isolated submission may not make: those with which it would get around its limits.

Not here: what it sees (isolation.py). A filter is a program of the kernel's: seccomp, in classic BPF.
"""

import errno
import struct

__all__ = ["refused_calls"]

# More processes, which would have limits of their own; another user namespace, whose owner may mount; memory that
# belongs to no process. Numbers as the kernel's tables have them, by what platform.machine() says.
REFUSED = {
    "x86_64": {"fork": 57, "vfork": 58, "unshare": 272, "memfd_create": 319, "shmget": 29},
    "aarch64": {"unshare": 97, "memfd_create": 279, "shmget": 194},
}
CLONE = {"x86_64": 56, "aarch64": 220}  # makes threads, which are allowed, and processes
CLONE3 = 435  # the same; its flags lie in memory, where a filter cannot look
CLONE_THREAD = 0x10000
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000  # the calls of x86_64 by other numbers begin here
# of a program: operations, what they load (the number, the architecture, the first argument), what they give back
LOAD, EQUAL, AT_LEAST, ANY_BIT, GIVE = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, CALLER, ARGUMENT = 0, 4, 16
ALLOW, ERROR = 0x7FFF0000, 0x50000


def refused_calls(machine):
    """The filter, as bubblewrap hands it on.

    Parameters
    ----------
    machine : str
        As `platform.machine` has it; where its numbers are not known, nothing is refused.

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
    """One instruction: so many steps are left out if it holds, and if it does not."""
    return struct.pack("HBBI", operation, if_so, if_not, operand)
