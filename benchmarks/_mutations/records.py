"""HDF5 and CDF files whose variables, attributes or places are others."""

from pathlib import Path

import numpy as np

from benchmarks._mutations.base import Rng, change_array


def hdf5_part(path: Path, rng: Rng) -> str:
    """A dataset or an attribute is another, gone, or elsewhere."""
    import h5py

    with h5py.File(path, "a") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name, what = (
            rng.choice(names),
            rng.choice(("values", "values", "values", "attribute", "attribute", "place", "size")),
        )
        if what == "attribute":
            key = rng.choice(list(file.attrs))
            value = rng.choice(
                (None, "", "x", "[]", "{", "{}", 7, -1, 0, 2**40, np.nan, np.zeros(3), b"\xff\xfe", "9" * 5000)
            )
            del file.attrs[key]
            if value is not None:
                file.attrs[key] = value
            return f"{key} = {str(value)[:20]}"
        values = file[name][()]
        del file[name]
        if what == "values":
            changed, said = change_array(values, rng)
            file.create_dataset(name, data=changed.astype("S") if changed.dtype.kind == "O" else changed)
            return f"{name}: {said}"
        if what == "size":
            rows = rng.choice((10**4, 10**8, 10**12))
            file.create_dataset(name, (rows, *values.shape[1:]), values.dtype, chunks=(1, *values.shape[1:]))
            return f"{name}: {rows} rows that are not stored"
        where = rng.choice(("gone", "group", "link", "outside", "raw bytes outside"))
        if where == "group":
            file.create_group(name)
        elif where == "link":
            file[name] = h5py.SoftLink(f"/{name}")
        elif where == "outside":
            file[name] = h5py.ExternalLink("/etc/passwd", "/x")
        elif where == "raw bytes outside":
            file.create_dataset(name, values.shape, values.dtype, external=[("/etc/passwd", 0, max(1, values.nbytes))])
        return f"{name}: {where}"


def cdf_variable(path: Path, rng: Rng) -> str:
    from cdflib.cdfwrite import CDF

    values, said = change_array(np.zeros((1, 2, 96), np.float32) + rng.choice((1.0, 1e30, np.nan)), rng)
    kinds = {"f": 44, "i": 4, "S": 51, "c": 51}
    name = rng.choice(("Pose", "Pose", "Pose", "pose", ""))
    path.unlink()
    file = CDF(path, delete=True)
    shape = {
        "Variable": name,
        "Data_Type": kinds.get(values.dtype.kind, 44),
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": list(values.shape[1:]),
    }
    file.write_var(shape, var_data=values.astype(np.float32) if values.dtype.kind == "f" else values)
    file.close()
    return f"{name}: {said}"


def cdf_numbers(path: Path, rng: Rng) -> str:
    """One of the 64- or 32-bit numbers of its records, which are places and sizes."""
    data = bytearray(path.read_bytes())
    at, width = rng.randrange(min(len(data), 2000) // 4) * 4, rng.choice((4, 8))
    number = rng.choice((0, 1, 8, 320, len(data), len(data) - 8, 2**31 - 1, 2**32 - 1, 96, at))
    data[at : at + width] = number.to_bytes(width, "big")
    path.write_bytes(data)
    return f"{number} at {at}"
