import os

# Read by SciPy when it is first imported: scikit-learn's `array_api_dispatch` needs it.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
