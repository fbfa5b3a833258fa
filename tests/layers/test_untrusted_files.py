"""Malicious files: nothing runs, no other file is read, and no memory is taken."""

import ast
import contextlib
import inspect
import io
import json
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numcodecs
import numpy as np
import pytest
import zarr
from sklearn.base import BaseEstimator

import skmot
from skmot import LayerStack, SoftMatching
from skmot.layers.files import FileReference, Reference
from skmot.metrics import soft_matching_score
from skmot.preprocessing import positions_as_stimuli
from tests.public import public_modules

LAYER = np.random.default_rng(0).normal(size=(12, 3))
SECRET = np.arange(36.0).reshape(12, 3)
# What may be taken to read a file that is refused.
MOST_BYTES = 20_000_000
HUGE = (10**12, 3)


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.fixture
def ran(tmp_path):
    """A path that exists if the code in a file has run."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()


class refused:
    """Context of an error that comes before much memory is taken."""

    def __init__(self, match, kind=ValueError):
        self.raises = pytest.raises(kind, match=match)

    def __enter__(self):
        tracemalloc.start()
        return self.raises.__enter__()

    def __exit__(self, *error):
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST_BYTES
        return self.raises.__exit__(*error)


# -- the code of the package -----------------------------------------------------------

# Where pickles are read: entries of `memory=`, which the user trusts like code.
READS_PICKLES = {"multilevel/store.py": {"pickle.loads"}}
FORBIDDEN = {
    "eval",
    "exec",
    "compile",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "joblib.load",
    "yaml.load",
    "marshal.loads",
    "shelve.open",
    "dill.load",
    "cloudpickle.load",
    "torch.load",
    "skops.io.load",
    "pandas.read_pickle",
    "pd.read_pickle",
}


def calls_in(path):
    """Yield the calls of a module as (full name, node)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def modules():
    root = Path(skmot.__file__).parent
    return [(str(path.relative_to(root)), path) for path in sorted(root.rglob("*.py"))]


def test_no_module_runs_what_is_in_a_file():
    found = {}
    for name, path in modules():
        calls = {called for called, _ in calls_in(path)} & FORBIDDEN
        if calls:
            found[name] = calls
    assert found == READS_PICKLES


def test_arrays_are_loaded_without_pickles():
    n_loads = 0
    for name, path in modules():
        for called, node in calls_in(path):
            if called in ("np.load", "numpy.load", "np.lib.format.read_array"):
                given = {part.arg: part.value for part in node.keywords}
                assert ast.unparse(given["allow_pickle"]) == "False", name
                n_loads += 1
    assert n_loads >= 2


def test_every_parameter_memory_says_that_its_folder_is_trusted():
    classes = {
        value
        for module in public_modules()
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, BaseEstimator)
    }
    with_memory = [c for c in classes if "memory" in inspect.signature(c).parameters]
    assert with_memory
    for value in with_memory:
        text = " ".join(inspect.getdoc(value).split())
        assert "trust the folder like code" in text, value


# -- .npy and .npz ---------------------------------------------------------------------


def npy(shape=LAYER.shape, descr="<f8", content=b"", header=None):
    """Return a `.npy` file whose header need not be true."""
    file = io.BytesIO()
    if header is None:
        np.lib.format.write_array_header_1_0(
            file, {"descr": descr, "fortran_order": False, "shape": shape}
        )
    else:
        text = header.encode() + b"\n"
        file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    return file.getvalue() + content


def npz(folder, members, compression=zipfile.ZIP_STORED):
    path = folder / "layers.npz"
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return np.load(path)


def test_archive_of_numbers_is_read(tmp_path):
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "good.npz", V1=LAYER, V2=LAYER[:, :2].astype("f4"))
        stack = LayerStack(np.load(tmp_path / "good.npz"))
        assert stack.names == ("V1", "V2")
        assert np.array_equal(stack.layer("V1"), LAYER)
        assert np.array_equal(stack.layer("V2"), LAYER[:, :2].astype("f4"))


def test_objects_in_an_archive_are_not_unpickled(tmp_path, ran):
    objects = np.empty((12, 3), object)
    objects[:] = Evil(ran)
    np.savez(tmp_path / "bad.npz", V1=LAYER, V2=objects)
    with refused(r"'V2\.npy' .*pickle"):
        LayerStack(np.load(tmp_path / "bad.npz"))
    # Not even where the user has asked numpy to.
    with refused(r"'V2\.npy' .*pickle"):
        LayerStack(np.load(tmp_path / "bad.npz", allow_pickle=True))


BAD_MEMBERS = {
    "claims terabytes": ({"V1.npy": npy(HUGE, content=bytes(96))}, "claims the shape"),
    "is truncated": ({"V1.npy": npy(content=bytes(96))}, "claims the shape"),
    "leads out of the archive": (
        {"../V1.npy": npy(content=LAYER.tobytes())},
        "a path out of it",
    ),
    "is an absolute path": ({"/V1.npy": npy(content=LAYER.tobytes())}, "a path out"),
    "is a pickle": ({"V1.npy": pickle.dumps(LAYER)}, "no array of numbers"),
    "has an expression as header": (
        {"V1.npy": npy(header="{'descr': __import__('os').sep, 'shape': (1, 1)}")},
        "no array of numbers",
    ),
    "has a negative length": (
        {"V1.npy": npy(header="{'descr':'<f8','fortran_order':False,'shape':(-4,-3)}")},
        "claims the shape|negative",
    ),
    "has a header beyond its end": (
        {"V1.npy": b"\x93NUMPY\x01\x00\xff\xff"},
        "no array of numbers",
    ),
    "is of another format": (
        {"V1.npy": b"\x93NUMPY\x09\x00"},
        "no array of numbers",
    ),
}


@pytest.mark.parametrize(
    ("members", "found"), BAD_MEMBERS.values(), ids=list(BAD_MEMBERS)
)
def test_bad_member_of_an_archive_is_refused(tmp_path, members, found):
    with refused(found):
        LayerStack(npz(tmp_path, members))
    with refused(found):
        LayerStack([npz(tmp_path, members)])


def test_archive_that_claims_more_than_can_be_compressed_is_refused(tmp_path):
    archive = npz(tmp_path, {"V1.npy": npy(HUGE, content=bytes(96))})
    # The directory of the archive confirms what the header says.
    for member in archive.zip.infolist():
        member.file_size = 24 * 10**12 + 128
    with refused("cannot be compressed"):
        LayerStack(archive)


BAD_FILES = {
    "objects": None,
    "huge": npy(HUGE, content=bytes(96)),
    "truncated": npy(content=bytes(96)),
    "expression": npy(header="{'descr': __import__('os').sep, 'shape': (1, 1)}"),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=list(BAD_FILES))
def test_bad_npy_file_is_refused_by_the_line_that_the_error_shows(
    tmp_path, content, ran
):
    path = tmp_path / "layer.npy"
    if content is None:
        np.save(path, np.array([[Evil(ran)]], object))
    else:
        path.write_bytes(content)
    with pytest.raises(TypeError, match=r'`np\.load\(path, mmap_mode="r"\)`'):
        LayerStack(path)
    with refused("memory-mapped|greater than file size|malformed node"):
        LayerStack([np.load(path, mmap_mode="r")])


@pytest.mark.parametrize(
    "changed",
    [
        {"dtype": np.dtype(object)},
        {"shape": HUGE},
        {"shape": HUGE, "n_bytes": 24 * 10**12},
        {"offset": 10**15},
        {"strides": (10**12, 8)},
        {"strides": (-24, 8)},
    ],
)
def test_reference_beyond_its_file_is_refused(tmp_path, changed):
    np.save(tmp_path / "layer.npy", LAYER)
    reference = FileReference.of(np.load(tmp_path / "layer.npy", mmap_mode="r"))
    assert np.array_equal(reference.open(), LAYER)
    for name, value in changed.items():
        setattr(reference, name, value)
    with refused("has changed since a stack was stored"):
        Reference.opened(reference)


# -- HDF5 ------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path):
    """A file that nobody has given to skmot."""
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["V1"] = SECRET
    return path


@pytest.fixture
def hdf5(tmp_path):
    with h5py.File(tmp_path / "layers.h5", "w") as file:
        file["good"] = LAYER
        yield file


def test_group_of_datasets_and_links_within_the_file_is_read(hdf5):
    hdf5["area/V4"] = LAYER[:, :2]
    hdf5["alias"] = h5py.SoftLink("/good")
    hdf5["same"] = hdf5["good"]
    stack = LayerStack(hdf5)
    assert stack.names == ("alias", "area", "good", "same")
    assert np.array_equal(stack.layer("alias"), LAYER)
    assert np.array_equal(stack.layer("area").layer("V4"), LAYER[:, :2])


def test_links_to_other_files_are_refused(hdf5, secret):
    hdf5["out"] = h5py.ExternalLink(str(secret), "/V1")
    with refused(
        r"'/out' of .*layers\.h5' is a link .*secret\.h5.*Only the given file"
    ):
        LayerStack(hdf5)
    del hdf5["out"]
    # A link within the file, through one that leads out of it.
    hdf5["hidden/out"] = h5py.ExternalLink(str(secret), "/")
    group = hdf5.create_group("layers")
    group["V1"] = h5py.SoftLink("/hidden/out/V1")
    with refused(r"'/layers/V1' .* leads to another file"):
        LayerStack(group)


def of_external_storage(file, secret):
    raw = secret.with_name("secret.raw")
    raw.write_bytes(SECRET.tobytes())
    return file.create_dataset(
        "bad", shape=SECRET.shape, dtype="f8", external=[(str(raw), 0, SECRET.nbytes)]
    )


def of_virtual_values(file, secret):
    layout = h5py.VirtualLayout(shape=SECRET.shape, dtype="f8")
    layout[:] = h5py.VirtualSource(str(secret), "V1", shape=SECRET.shape)
    return file.create_virtual_dataset("bad", layout)


@pytest.mark.parametrize("make", [of_external_storage, of_virtual_values])
def test_values_in_other_files_are_refused_everywhere(hdf5, secret, make):
    bad = make(hdf5, secret)
    assert np.array_equal(bad[:], SECRET)
    for read in (
        lambda: LayerStack(hdf5),
        lambda: LayerStack({"V1": bad}),
        lambda: LayerStack(bad),
        lambda: SoftMatching().fit([bad], [LAYER]),
        lambda: SoftMatching().fit(LAYER, bad),
        lambda: soft_matching_score(bad, LAYER),
    ):
        with refused(r"values in other files, such as .*secret.*`dataset\[:\]`"):
            read()


def test_maps_and_targets_in_other_files_are_refused(tmp_path, hdf5):
    (tmp_path / "raw").write_bytes(bytes(12 * 8 * 6))
    for shape, read in (
        ((12,), lambda bad: SoftMatching().fit(LAYER, bad)),
        ((12, 3, 2), positions_as_stimuli),
    ):
        bad = hdf5.create_dataset(
            f"bad {len(shape)}",
            shape=shape,
            dtype="f8",
            external=[(str(tmp_path / "raw"), 0, 8 * int(np.prod(shape)))],
        )
        with refused("values in other files"):
            read(bad)


def test_virtual_dataset_of_its_own_file_is_read(hdf5):
    layout = h5py.VirtualLayout(shape=LAYER.shape, dtype="f8")
    layout[:] = h5py.VirtualSource(".", "good", shape=LAYER.shape)
    view = hdf5.create_virtual_dataset("view", layout)
    assert np.array_equal(LayerStack([view]).layers[0], LAYER)


def test_links_without_end_are_refused(hdf5):
    group = hdf5.create_group("soft")
    group["inner/up"] = h5py.SoftLink("/soft")
    with refused(r"'/soft/inner/up' .* contains it"):
        LayerStack(group)
    group = hdf5.create_group("hard")
    group["self"] = group
    with refused(r"'/hard/self' .* contains it"):
        LayerStack(group)
    for name, target in (("loop", "/links/loop"), ("nowhere", "/nothing")):
        links = hdf5.require_group(f"links {name}")
        links["bad"] = h5py.SoftLink(
            target if name == "nowhere" else links.name + "/bad"
        )
        with refused(r"leads nowhere, or to itself"):
            LayerStack(links)


def test_dataset_that_claims_terabytes_is_refused(hdf5):
    bad = hdf5.create_dataset("bad", shape=HUGE, dtype="f8", chunks=(10, 3))
    for read in (
        lambda: LayerStack([bad]),
        lambda: soft_matching_score(bad, LAYER),
    ):
        with refused(r"claims 24,000,000,000,000 bytes.*cannot be compressed"):
            read()


def test_reference_that_became_a_link_is_refused(tmp_path, secret):
    path = tmp_path / "layers.h5"
    with h5py.File(path, "w") as file:
        file["V1"] = LAYER
    stack = LayerStack(h5py.File(path, "r"))
    stored = pickle.dumps(stack)
    stack.layers[0]
    times = os.stat(path)
    stack._bases[0]._array.file.close()
    with h5py.File(path, "w") as file:
        file["V1"] = h5py.ExternalLink(str(secret), "/V1")
        file["padding"] = np.zeros(1)
    # As if nothing had happened.
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ValueError, match=r"changed|link to another file"):
        pickle.loads(stored).layers[0].sum()


# -- zarr ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "codec",
    [
        {"filters": [numcodecs.Pickle()], "compressors": None},
        {"compressors": numcodecs.Pickle()},
    ],
    ids=["filter", "compressor"],
)
def test_zarr_arrays_of_pickles_are_refused(tmp_path, codec, ran, monkeypatch):
    # Older versions of numcodecs always allow it.
    monkeypatch.setattr(
        "numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False
    )
    bad = zarr.create_array(
        tmp_path / "bad.zarr",
        shape=LAYER.shape,
        chunks=LAYER.shape,
        dtype="f8",
        zarr_format=2,
        **codec,
    )
    chunk = tmp_path / "bad.zarr" / "0.0"
    chunk.write_bytes(pickle.dumps(Evil(ran)))
    for read in (
        lambda: LayerStack([bad]).layers[0],
        lambda: SoftMatching().fit([bad], [LAYER]),
        lambda: soft_matching_score(bad, LAYER),
    ):
        with refused("stored as pickles"):
            read()
    # Where unpickling is allowed, reading the array does run the code.
    with contextlib.suppress(TypeError, ValueError, AttributeError):
        bad[:]
    assert ran.exists()
    ran.unlink()


def test_zarr_names_that_lead_out_of_the_store_are_refused(tmp_path):
    zarr.create_array(tmp_path / "secret.zarr", data=SECRET)
    store = tmp_path / "store.zarr"
    zarr.create_array(store / "V1", data=LAYER)
    stack = LayerStack([zarr.open_array(store, path="V1", mode="r")])
    reference = stack._bases[0].to_store()
    assert np.array_equal(reference.open().take(range(12)), LAYER)
    reference.name, reference.state = "../secret.zarr", None
    with pytest.raises(ValueError, match=r"\.\."):
        reference.open()


def test_zarr_array_that_claims_terabytes_is_refused(tmp_path):
    bad = zarr.create_array(
        tmp_path / "bad.zarr", shape=HUGE, chunks=(10, 3), dtype="f8"
    )
    with refused("cannot be compressed"):
        LayerStack([bad])
    whole = zarr.create_array(tmp_path / "zeros.zarr", shape=(100, 3), dtype="f8")
    assert not LayerStack([whole]).layers[0].any()


# -- safetensors -----------------------------------------------------------------------

ENTRY = {"dtype": "F64", "shape": [12, 3], "data_offsets": [0, 288]}
BAD_TENSORS = {
    "header of terabytes": (2**45).to_bytes(8, "little"),
    "header beyond the file": (5000).to_bytes(8, "little") + b"{}",
    "offsets beyond the file": {"V1": ENTRY | {"data_offsets": [0, 24 * 10**12]}},
    "shape of terabytes": {"V1": ENTRY | {"shape": list(HUGE)}},
    "overlapping layers": {"V1": ENTRY, "V2": ENTRY},
    "reversed offsets": {"V1": ENTRY | {"data_offsets": [288, 0]}},
    "name of a path": {"../V1": ENTRY | {"data_offsets": [8, 296]}},
}


@pytest.mark.parametrize("content", BAD_TENSORS.values(), ids=list(BAD_TENSORS))
def test_bad_safetensors_are_refused_by_the_library_that_reads_them(tmp_path, content):
    # skmot reads no such file itself: layers are what the library returns.
    safetensors = pytest.importorskip("safetensors")
    numpy_format = pytest.importorskip("safetensors.numpy")
    if isinstance(content, dict):
        header = json.dumps(content).encode()
        content = len(header).to_bytes(8, "little") + header + LAYER.tobytes()
    path = tmp_path / "layers.safetensors"
    path.write_bytes(content)
    with refused(None, kind=safetensors.SafetensorError):
        LayerStack(numpy_format.load_file(path))
