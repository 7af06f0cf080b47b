"""Which code wrote a file."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def code_commit() -> str:
    """The git commit of this checkout, "+changes" when files differ from it; else the package's version."""
    home = Path(__file__).resolve().parent.parent
    if (home / ".git").exists():
        try:
            commit = _git(home, "rev-parse", "HEAD")
            return commit + ("+changes" if _git(home, "status", "--porcelain", "--untracked-files=no") else "")
        except (OSError, subprocess.SubprocessError):
            pass
    try:
        return version("neural-voting-field-body")
    except PackageNotFoundError:
        return "unknown"


def _git(home: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(home), *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
