"""Opening a published package of assets: its name, version, licence and files must be those that were read and tried."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError


@dataclass(frozen=True)
class Known:
    """A package that was read and tried.

    name, version, licence: for the provenance. how: the command that fetches it. licence_file: its name in the package, which must
    begin with `licence_text`; None where each item states its own.
    manifest: a JSON file that names the package and its version, or None where there is none. sha256: of
    each file that is taken, by its path below `folder`.
    """

    name: str
    version: str
    licence: str
    how: str
    licence_file: str | None
    licence_text: str
    manifest: str | None
    sha256: dict[str, str]
    folder: str = "."


def open_package(folder: Path, known: Known) -> dict[str, bytes]:
    """The package's files by name, its licence included.

    Raises InputError when the licence is missing or another one, when the folder holds another package or version (what changed is
    named), and when a file cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Fetch {known.name} {known.version}: {known.how}.")
    said, files = _manifest_changes(folder, known), {}
    if known.licence_file is not None:
        files[known.licence_file] = _read_licence(folder, known.licence_file, known)
    for name, checksum in known.sha256.items():
        path = f"{known.folder}/{name}"
        if not (folder / path).is_file():
            said.append(f"{name} is missing")
            continue
        files[name] = _read(folder, path, known, "a file")
        have = hashlib.sha256(files[name]).hexdigest()
        if have != checksum:
            said.append(f"{name} has the checksum {have[:12]}, the known one {checksum[:12]}")
    if said:
        more = f" and {len(said) - 5} more" if len(said) > 5 else ""
        raise InputError(
            f"{folder} is not {known.name} {known.version}: {'; '.join(said[:5])}{more}. Fetch the known one: {known.how}."
        )
    return files


def _read_licence(folder: Path, name: str, known: Known) -> bytes:
    licence = _read(folder, name, known, "its licence")
    if not licence.decode("utf-8", "replace").lstrip().startswith(known.licence_text):
        raise InputError(
            f"{folder / name} does not begin with {known.licence_text!r}: these may not be the {known.licence} files "
            f"that were read and tried. Fetch {known.name} {known.version}: {known.how}."
        )
    return licence


def _read(folder: Path, name: str, known: Known, what: str) -> bytes:
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path} is a link that leads out of {folder}. Fetch {known.name} anew: {known.how}.")
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}, {what}, cannot be read ({error.strerror}). Without it nothing is built. Fetch {known.name} "
            f"{known.version}: {known.how}."
        ) from error


def _manifest_changes(folder: Path, known: Known) -> list[str]:
    """What a package's manifest says otherwise."""
    if known.manifest is None:
        return []
    try:
        manifest = json.loads(_read(folder, known.manifest, known, "its manifest"))
        have = {key: str(manifest.get(key)) for key in ("name", "version")}
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{folder / known.manifest} is not the manifest of a package ({error}). Fetch {known.name}: {known.how}."
        ) from error
    return [
        f"its {key} is {have[key]}, not {want}"
        for key, want in (("name", known.name), ("version", known.version))
        if have[key] != want
    ]
