"""Parts of docstrings that several classes share."""

import re
from textwrap import indent

_NAMES = """\
source_names_, target_names_ : tuple or None
    Names of the layers, or None if they have no names.
n_features_in_ : int
    Number of source units.
feature_names_in_ : ndarray of shape (`n_features_in_`,)
    Names of the source units. Defined only if `X` is a DataFrame with string
    columns."""

SHARED = {
    "pair attributes": """\
dead_source_units_, dead_target_units_ : ndarray of int
    Indices of the units that are constant over the training stimuli. They are left
    out of the fit, are not used for predictions, and are predicted as their
    constant value.
"""
    + _NAMES,
    "cost attributes": """\
dead_source_units_, dead_target_units_ : ndarray of int
    Indices of the units that are constant over the training stimuli. They are left
    out of the fit.
"""
    + _NAMES,
    "raw attributes": """\
dead_source_units_, dead_target_units_ : ndarray of int
    Always empty, because units that are constant over the training stimuli are not
    left out of the fit.
"""
    + _NAMES,
    "level attributes": """\
dead_source_units_, dead_target_units_ : list of ndarray of int
    Indices of the units in each layer that are constant over the training stimuli.
    They are left out of the fit, are not used for predictions, and are predicted as
    their constant value.
source_names_, target_names_ : tuple or None
    Names of the layers, or None if they have no names.
n_features_in_ : int
    Number of source units of all layers.
feature_names_in_ : ndarray of shape (`n_features_in_`,)
    Names of the source units. Defined only if `X` is a single DataFrame with string
    columns.""",
    "soft matching paper": """\
.. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
   representations that captures single-neuron tuning. UniReps, PMLR, 2024.""",
    "multi-level paper": """\
.. [1] Representational alignment across model layers and brain regions with
   multi-level optimal transport.""",
}


def shared_docs(documented):
    """Replace each line `<<name>>` in a docstring by the shared part with this name.

    Parameters
    ----------
    documented : class or function
        Class or function whose docstring is changed. The names are the keys of
        `SHARED`.

    Returns
    -------
    documented : class or function
        The same object.
    """
    # There are no docstrings with `python -OO`.
    if documented.__doc__:
        documented.__doc__ = re.sub(
            r"^( *)<<(.+)>>$",
            lambda match: indent(SHARED[match[2]], match[1]),
            documented.__doc__,
            flags=re.MULTILINE,
        )
    return documented
