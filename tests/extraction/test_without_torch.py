import subprocess
import sys

import pytest

from skmot.extraction import record_activations


def test_missing_torch_is_an_error_that_names_the_extra(monkeypatch):
    # None in `sys.modules` makes an import fail, whether torch is installed or not.
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install 'skmot\[extraction\]'"):
        record_activations(object(), [])


def test_import_does_not_import_torch():
    code = "import sys, skmot.extraction; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "False", done.stderr
