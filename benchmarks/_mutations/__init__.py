"""Files made wrong in one place: `mutate` changes a file as its kind allows, or its bytes, and says how."""

from collections.abc import Callable
from pathlib import Path

from benchmarks._mutations.arrays import npy_file, npz_member, safetensors_head
from benchmarks._mutations.base import CANARY, Rng
from benchmarks._mutations.pickles import pickle_program, pickle_value
from benchmarks._mutations.pictures import picture_flavour, picture_header
from benchmarks._mutations.plain import BYTES, flip
from benchmarks._mutations.records import cdf_numbers, cdf_variable, hdf5_part
from benchmarks._mutations.texts import json_line, json_text, json_value, toml_text, xml_text, yaml_text

__all__ = ["CANARY", "KINDS", "mutate"]

PICTURES = [picture_flavour, picture_flavour, picture_header]
KINDS: dict[str, list[Callable[[Path, Rng], str]]] = {
    ".json": [json_value, json_value, json_value, json_text],
    ".jsonl": [json_line],
    ".pkl": [pickle_value, pickle_value, pickle_program],
    ".xml": [xml_text],
    ".txt": [xml_text],  # of Qualisys
    ".yml": [yaml_text],
    ".toml": [toml_text],
    ".npy": [npy_file],
    ".npz": [npz_member],
    ".safetensors": [safetensors_head],
    ".h5": [hdf5_part],
    ".cdf": [cdf_variable, cdf_numbers, cdf_numbers],
} | dict.fromkeys((".jpg", ".png", ".webp", ".tif", ".bmp", ".gif"), PICTURES)


def mutate(path: Path, rng: Rng) -> str:
    """Changes the file in place (or puts something else there); says how."""
    kinds = KINDS.get(path.suffix.lower(), [])
    change = rng.choice(kinds if kinds and rng.random() < 0.75 else BYTES)
    try:
        said = change(path, rng)
    except Exception as error:  # a file that cannot be changed so, for instance because it was changed already
        said = f"({type(error).__name__}) {flip(path, rng)}" if path.is_file() else ""
    return f"{change.__name__}: {said}" if said else change.__name__
