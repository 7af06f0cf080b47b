"""Reading a pickle without running anything that may hide in it.

A pickle is a program: loading one calls whatever it names. Here it may name the pieces of numpy arrays and nothing
else; any other name is refused before it is looked up. Built-in containers, numbers and strings need no name.
"""

import pickle
import pickletools
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy._core import multiarray, numeric

from pipeline.errors import InputError, refuse_pipe


class SparseMatrix:
    """What a pickled scipy matrix in column form holds, without scipy's own code: `toarray` is all it can do."""

    def __setstate__(self, state: dict) -> None:
        self.state = dict(state)

    def toarray(self) -> np.ndarray:
        """(rows, columns) dense."""
        shape, data = self.state["_shape"], self.state["data"]
        starts, rows = self.state["indptr"], self.state["indices"]
        dense = np.zeros(shape)
        columns = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        np.add.at(dense, (rows, columns), data)
        return dense


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes into old pickles."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"the encoding {encoding}")
    return text.encode("latin1")


class _Array:
    """Stands for numpy's type of arrays, which a pickle may name but not call: that could ask for any amount of memory."""


def _reconstruct(kind: type, shape: tuple, code: bytes) -> np.ndarray:
    """The empty array that a pickle fills next."""
    if kind is not _Array or tuple(shape) != (0,):
        raise pickle.UnpicklingError(f"an array that begins as {shape}")
    return np.ndarray(0, np.int8)


_ARRAYS = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode_latin1,
} | {
    (f"{package}.{part.__name__.rpartition('.')[2]}", name): getattr(part, name)
    for package in ("numpy.core", "numpy._core")
    for part, name in ((multiarray, "scalar"), (numeric, "_frombuffer"))
}
_ARRAYS |= {(f"{package}.multiarray", "_reconstruct"): _reconstruct for package in ("numpy.core", "numpy._core")}
_SPARSE = {(module, "csc_matrix"): SparseMatrix for module in ("scipy.sparse.csc", "scipy.sparse._csc")}


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, names: dict[tuple[str, str], Any]):
        super().__init__(file, encoding="latin1")
        self._names = names

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._names:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self._names[module, name]


def _refuse_large_memo(file: BinaryIO) -> None:
    """A pickle numbers what it uses again; a number far beyond what it holds makes Python reserve gigabytes for the others."""
    size = file.seek(0, 2)
    file.seek(0)
    for operation, number, _ in pickletools.genops(file):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and (number or 0) > size:
            raise pickle.UnpicklingError(f"it numbers an object {number}")
    file.seek(0)


def load_plain_pickle(path: Path, sparse: bool = False) -> Any:
    """The content of a pickle of arrays, containers, numbers and strings, also one written by Python 2.

    sparse: scipy matrices in column form are admitted, as `SparseMatrix`. Raises InputError naming the file for
    anything else.
    """
    refuse_pipe(path)
    try:
        with open(path, "rb") as file:
            _refuse_large_memo(file)
            return _PlainUnpickler(file, _ARRAYS | (_SPARSE if sparse else {})).load()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist. Fetch it again.") from None
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is refused as a pickle of plain arrays ({error}). A pickle can run code, so only numpy arrays "
            "are admitted; use the original file, or convert it to plain arrays on a machine you can spare."
        ) from None
    except Exception as error:  # a damaged pickle fails in any way, inside any of its operations
        raise InputError(
            f"{path} cannot be read as a pickle ({type(error).__name__}: {error}). Fetch it again."
        ) from None
