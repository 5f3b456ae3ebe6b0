"""Installs Debian packages that checks need and pip does not have, if this runs as root on a system with apt.

Not here: messages about missing packages. `python scripts/system_packages.py bwrap=bubblewrap` installs a package
if its command is missing.
"""

import os
import shutil
import subprocess
import sys

INSTALL_LIMIT = 600  # seconds for each of the two commands


def install(*packages):
    """Install packages, if that is possible without a password."""
    if shutil.which("apt-get") is None or getattr(os, "geteuid", lambda: 1)() != 0:
        return
    print(f"installing {' and '.join(packages)}", flush=True)
    try:
        for command in ("update -qq", f"install -y -qq --no-install-recommends {' '.join(packages)}"):
            command = ["apt-get", *command.split()]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=INSTALL_LIMIT)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)


if __name__ == "__main__":
    wanted = dict(argument.split("=") for argument in sys.argv[1:])
    missing = [package for command, package in wanted.items() if shutil.which(command) is None]
    if missing:
        install(*missing)
