"""Write requirements.lock: every package that `make setup` and the extras install, at one exact version.

    python tools/lock.py             # what pyproject.toml has come to need is added; every other pin stays
    python tools/lock.py --upgrade   # every pin becomes the newest version that the ranges of pyproject.toml allow

pip's own resolver decides, for this machine's Python and platform. Versions are written without a build's label (2.13.0, not
2.13.0+cpu), so that the same lock serves a CPU and a CUDA build.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
HEADER = """\
# Every package that the program, its tests and its extras were tested with, at one exact version; pyproject.toml holds the ranges.
# Written by `python tools/lock.py`; `make setup` installs with it as pip's constraints.
"""


def resolve(constraints: Path | None) -> dict[str, str]:
    """Normalised name -> version of all that pip would install into an empty environment for the project and its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    everything = f"{ROOT}[{','.join(project['optional-dependencies'])}]"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), "--editable", everything]
        command += ["--constraint", str(constraints)] if constraints else []
        subprocess.run(command, check=True)
        found = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    pins = {normalised(item["name"]): item["version"].split("+")[0] for item in found}
    del pins[normalised(project["name"])]
    return pins


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="store_true", help="forget the present pins")
    upgrade = parser.parse_args().upgrade
    pins = resolve(None if upgrade or not LOCK.exists() else LOCK)
    LOCK.write_text(HEADER + "".join(f"{name}=={version}\n" for name, version in sorted(pins.items())))
    print(f"{LOCK.name}: {len(pins)} packages")


if __name__ == "__main__":
    main()
