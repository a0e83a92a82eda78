"""Layers of this machine's own files, as GNU tar packs them."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.commands import tool

# On Debian: links; time zones with links of both kinds; a program with two names, and some with set-ID bits.
_OFTEN_THERE = ("/etc/alternatives", "/usr/share/zoneinfo/Europe", "/usr/share/zoneinfo/US", "/usr/share/doc/bash")
_PROGRAMS = ("sh", "perl", "perl5.36.0", "perl5.40.1", "su", "passwd", "chage", "ssh-agent", "mount")


def machine_layers() -> list[bytes]:
    """Return an archive of the Python installation, and one of links and programs, with their owners."""
    python = [str(Path(sys.executable).absolute()), str(Path(sysconfig.get_path("stdlib")) / "json")]
    programs = [found for name in _PROGRAMS if (found := shutil.which(name))]
    others = [path for path in _OFTEN_THERE if Path(path).exists()]
    return [_packed("posix", python), _packed("gnu", [*others, *programs, python[0]])]


def _packed(form: str, paths: list[str]) -> bytes:
    command = [tool("tar"), "--create", f"--format={form}", "--directory=/", *(path.lstrip("/") for path in paths)]
    return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
