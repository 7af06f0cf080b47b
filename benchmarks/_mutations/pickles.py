"""Pickles made wrong: a value that is another, or a program that runs something or asks for much memory."""

import pickle
import struct
from pathlib import Path

from benchmarks._mutations.base import CANARY, Canary, Rng, change_tree


def pickle_value(path: Path, rng: Rng) -> str:
    tree = pickle.loads(path.read_bytes())
    said = change_tree(tree, rng)
    path.write_bytes(pickle.dumps(tree, rng.choice((0, 2, 4))))
    return said


def pickle_program(path: Path, rng: Rng) -> str:
    """Pickles that run something, or that ask for much memory."""
    size = struct.pack("<I", rng.choice((0x7FFFFFFF, 0x0FFFFFFF)))
    touch = f'touch "${CANARY}"'
    programs = {
        "canary": pickle.dumps({"genders": [Canary()]}, 2),
        "canary of protocol 0": pickle.dumps(Canary(), 0),
        "builtins": b"c__builtin__\neval\n(V1\ntR.",
        "numpy's own loader": b"cnumpy\nload\n(V/etc/passwd\ntR.",
        "inst": f"(S'{touch}'\nios\nsystem\n.".encode(),
        "obj": f"(cos\nsystem\nS'{touch}'\no.".encode(),
        "global behind dots": b"\x80\x04\x8c\x05numpy\x8c\x0ef2py.os.system\x93\x8c\x01x\x85R.",
        "memo": b"\x80\x02Nr" + size + b".",
        "long text": b"\x80\x02X" + size + b"abc.",
        "long number": b"\x80\x02\x8b" + size + b"1.",
        "large array": b"\x80\x02cnumpy\nndarray\n\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"\x85R.",
        "large dtype": b"\x80\x02cnumpy\ndtype\nX\x0a\x00\x00\x00S999999999\x85R.",
        "nested": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "persistent": b"Pos.system\n.",
        "extension": b"\x80\x02\x82\x01.",
    }
    name = rng.choice(list(programs))
    path.write_bytes(programs[name])
    return name
