"""HDF5 files that are not trusted: what they may point at, and how much they may announce."""

import h5py

# gzip makes bytes at most so many times smaller.
MOST_PACKED = 1100


def stored_columns(file: h5py.File) -> tuple[dict[str, h5py.Dataset], list[str]]:
    """Datasets of a file by name, and what is wrong with where their bytes are: in other files, or nowhere."""
    columns: dict[str, h5py.Dataset] = {}
    problems: list[str] = []

    def look(name: str, link: object) -> None:
        item = file[name] if isinstance(link, h5py.HardLink) else None
        if isinstance(item, h5py.Dataset):
            columns[name] = item
        elif not isinstance(item, h5py.Group):
            problems.append(f"{name} is a link to another place; this program's files hold their data themselves")

    try:
        file.visititems_links(look)
    except Exception:  # whatever is raised inside of it comes out as something else
        problems.append("its datasets cannot be listed")
    for name, item in columns.items():
        if item.external or item.is_virtual:
            problems.append(f"{name} lies in another file; this program's files hold their data themselves")
        elif item.nbytes > (1 << 20) + MOST_PACKED * item.id.get_storage_size():
            problems.append(f"{name} announces {item.nbytes} bytes, which the file does not hold")
    return columns, problems
