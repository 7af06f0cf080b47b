"""Pickles of arrays are read, also those of Python 2; a pickle that asks for anything else runs nothing."""

import os
import pickle
import struct

import numpy as np
import pytest
import scipy.sparse

from pipeline.body.plain_pickle import load_plain_pickle
from pipeline.errors import InputError


class Exploit:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_arrays_containers_and_numbers(tmp_path, protocol):
    content = {
        "poses": [np.arange(6.0).reshape(2, 3), np.float32([1, 2])],
        "sequence": "downtown",
        "genders": ["m", "f"],
        "n": 3,
        "half": np.float64(0.5),
        "flag": np.bool_(True),
        "strided": [np.arange(12).reshape(3, 4)[:, ::2]],
    }
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    found = load_plain_pickle(path)
    assert found.keys() == content.keys() and found["sequence"] == "downtown" and found["half"] == 0.5
    for key in ("poses", "strided"):
        for a, b in zip(found[key], content[key], strict=True):
            assert np.array_equal(a, b) and a.dtype == b.dtype


def test_a_python_2_pickle_byte_for_byte(tmp_path):
    """What Python 2 wrote for {'betas': array([1., 2.])}: byte strings, protocol 2, the old module name."""
    raw = struct.pack("<2d", 1, 2)
    path = tmp_path / "x.pkl"
    path.write_bytes(
        b"\x80\x02}U\x05betascnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
        b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10"
        + raw
        + b"tbs."
    )
    assert load_plain_pickle(path)["betas"].tolist() == [1, 2]


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("call", ["system", "eval", "getattr", "load", "encode"])
def test_a_pickle_that_tries_to_run_code(tmp_path, monkeypatch, protocol, call):
    ran = tmp_path / "ran"
    exploit = {
        "system": Exploit(os.system, f"touch {ran}"),
        "eval": Exploit(eval, f"open({str(ran)!r}, 'w')"),
        "getattr": Exploit(getattr, "text", "upper"),
        "load": Exploit(np.load, str(tmp_path / "other.npy"), None, True),
        "encode": Exploit(__import__("_codecs").encode, "x", "rot13"),
    }[call]
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"poses": [np.zeros(3), exploit]}, protocol))
    with pytest.raises(InputError, match="x.pkl is refused as a pickle of plain arrays.*can run code"):
        load_plain_pickle(path)
    assert not ran.exists()


def test_damaged_and_missing_files(tmp_path):
    path = tmp_path / "x.pkl"
    with pytest.raises(InputError, match="does not exist"):
        load_plain_pickle(path)
    whole = pickle.dumps({"poses": np.zeros((40, 72))}, 2)
    for content in (b"", b"<html>", whole[:-200], whole.replace(b"f8", b"f9")):
        path.write_bytes(content)
        with pytest.raises(InputError, match="x.pkl"):
            load_plain_pickle(path)


def test_sparse_matrices_only_where_asked(tmp_path):
    """SMPL's joint regressor is one."""
    dense = np.zeros((4, 6))
    dense[1, 2], dense[3, 5], dense[0, 0] = 0.5, 0.25, 1
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"J_regressor": scipy.sparse.csc_matrix(dense)}, 2))
    assert np.array_equal(load_plain_pickle(path, sparse=True)["J_regressor"].toarray(), dense)
    with pytest.raises(InputError, match="scipy"):
        load_plain_pickle(path)


HUGE = b"\x8a\x06" + (1 << 40).to_bytes(6, "little")  # a number of a pickle


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02Nr\xff\xff\xff\x7f.",  # an object of the number 2^31: gigabytes for the numbers before it
        b"\x80\x02Nq\xff.",
        b"p1000000000\n.",
        b"\x80\x02cnumpy\nndarray\n" + HUGE + b"\x85R.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + HUGE + b"\x85U\x01b\x87R.",
    ],
)
def test_a_pickle_that_asks_for_much_memory_is_refused(tmp_path, program):
    (tmp_path / "a.pkl").write_bytes(program)
    with pytest.raises(InputError, match="a.pkl"):
        load_plain_pickle(tmp_path / "a.pkl")
