"""Checks of files that may be malicious, before their layers are read.

Only numbers are read from files, and only from those that were given: no pickles, no
links to other files, and no more bytes than the file can hold.
"""

import math
import os
import posixpath
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

# Most bytes that a byte of a compressed file can become: the limit of the deflate
# algorithm, of `numpy.savez_compressed` and gzip. Activations are compressed to about a
# half.
_MOST_BYTES_PER_BYTE = 1032
# Layers up to this size are read whatever the file holds, because those that were never
# written (all zeros) are stored as nothing.
_SMALL = 2**30


def is_archive(given):
    """Whether an object is a group of an HDF5 file or an open `.npz` archive."""
    return isinstance(given, NpzFile) or _is_hdf5_group(given)


def members_of(archive):
    """Return the arrays of an HDF5 group or a `.npz` archive, after checking them.

    Parameters
    ----------
    archive : h5py.Group or NpzFile
        The open file, or a part of it.

    Returns
    -------
    members : dict
        Arrays, or dicts of arrays for groups within groups, by their names.

    Raises
    ------
    ValueError
        If a member is a link to another file, a group that contains itself, a pickle,
        or claims more bytes than the file can hold.
    """
    if isinstance(archive, NpzFile):
        return _members_of_npz(archive)
    return _members_of_hdf5(archive, (archive,))


def check_stored(array, where):
    """Raise an error for an array in a file that must not be read.

    Parameters
    ----------
    array : object
        Anything. Only arrays of h5py and zarr are checked; their values are not read.
    where : str
        Name of the layer in the error message.

    Raises
    ------
    ValueError
        If the values are in other files, or stored as pickles, or the array claims more
        bytes than its file can hold.
    """
    library = library_of(array)
    if library not in ("h5py", "zarr") or not hasattr(array, "dtype"):
        return
    if library == "h5py":
        _check_values_in_file(array, where)
        path = Path(array.file.filename)
    else:
        _check_no_pickles(array, where)
        root = getattr(array.store, "root", None)
        # Other stores than folders are services, or in memory.
        path = Path(root) / array.path if isinstance(root, os.PathLike) else None
    if path is not None and path.exists():
        size = math.prod(array.shape) * array.dtype.itemsize
        _check_size(size, lambda: _stored_bytes(path, size), where)


def library_of(array):
    """Return the name of the package that the type of an object is from."""
    return type(array).__module__.partition(".")[0]


def _check_values_in_file(dataset, where):
    others = [name for name, *_ in dataset.external or ()]
    if dataset.is_virtual:
        sources = dataset.virtual_sources()
        others += [part.file_name for part in sources if part.file_name != "."]
    if others:
        raise ValueError(
            f"{where} is the dataset {dataset.name!r} of {dataset.file.filename!r}, "
            f"which has its values in other files, such as {others[0]!r}. Only the "
            "given file is read. If you trust the file, read the values yourself, "
            "`dataset[:]`."
        )


def _check_no_pickles(array, where):
    codecs = (*array.filters, *array.compressors)
    if any(getattr(codec, "codec_id", None) == "pickle" for codec in codecs):
        raise ValueError(
            f"{where} is a zarr array that is stored as pickles, which can run any "
            "code when they are read. If you trust it, read the values yourself, "
            "`array[:]`."
        )


def _is_hdf5_group(given):
    return library_of(given) == "h5py" and hasattr(given, "visititems")


def _members_of_hdf5(group, ancestors):
    import h5py

    members = {}
    for name in group:
        link = group.get(name, getlink=True)
        where = f"{posixpath.join(group.name, name)!r} of {group.file.filename!r}"
        if isinstance(link, h5py.ExternalLink):
            raise ValueError(
                f"{where} is a link to {link.path!r} in the file {link.filename!r}. "
                "Only the given file is read. If you trust it, open the other file "
                "yourself, and give its datasets."
            )
        try:
            member = group[name]
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"{where} cannot be opened: it is a link that leads nowhere, or to "
                f"itself ({error})."
            ) from error
        if member.file.filename != group.file.filename:
            raise ValueError(
                f"{where} leads to another file, {member.file.filename!r}. Only the "
                "given file is read. If you trust it, give the datasets of that file."
            )
        if _is_hdf5_group(member):
            if member in ancestors:
                raise ValueError(
                    f"{where} is a link to a group that contains it, so layers would "
                    "be nested without end. Give the datasets as a dict."
                )
            member = _members_of_hdf5(member, (*ancestors, member))
        members[name] = member
    return members


def _members_of_npz(archive):
    members = archive.zip.infolist()
    for member in members:
        name = member.filename
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise ValueError(
                f"The archive has a member called {name!r}, a path out of it. numpy "
                "writes no such names: do not trust the file."
            )
        with archive.zip.open(member) as file:
            shape, dtype = _read_header(file, name)
        if math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(
                f"{name!r} in the archive claims the shape {shape} of {dtype}, and has "
                f"{member.file_size:,} bytes. The file is damaged or malicious."
            )
    archive.zip.fp.seek(0, os.SEEK_END)
    stored = archive.zip.fp.tell()
    size = sum(member.file_size for member in members)
    _check_size(size, lambda: stored, "The archive")
    return {name: archive[name] for name in archive.files}


def _read_header(file, name):
    """Return the shape and dtype of an array in the format of `.npy` files."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        shape, _, dtype = readers[np.lib.format.read_magic(file)](file)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{name!r} in the archive is no array of numbers ({error})."
        ) from error
    if dtype.hasobject:
        raise ValueError(
            f"{name!r} in the archive is an array of objects, stored as a pickle, "
            "which can run any code when it is read. Convert the array to numbers "
            "before it is saved."
        )
    return shape, dtype


def _check_size(size, count_stored, where):
    """Raise an error if as many bytes cannot be stored in those of a file."""
    if size <= _SMALL:
        return
    stored = count_stored()
    if size > _MOST_BYTES_PER_BYTE * stored:
        raise ValueError(
            f"{where} claims {size:,} bytes, and its file has {stored:,}, to which "
            "they cannot be compressed. The file is damaged or malicious, or was never "
            "filled. If you trust it, read the values yourself, `array[:]`."
        )


def _stored_bytes(path, size):
    """Return the size of a file or folder, or at least as much as `size` needs."""
    if path.is_file():
        return path.stat().st_size
    stored = 0
    for folder, _, names in os.walk(path):
        for name in names:
            stored += os.path.getsize(os.path.join(folder, name))
            if size <= _MOST_BYTES_PER_BYTE * stored:
                return stored
    return stored
