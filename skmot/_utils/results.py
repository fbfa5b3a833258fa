"""Result of a test or an estimate, which prints what it shows in a sentence."""

from sklearn.utils import Bunch


class Result(Bunch):
    """Bunch that prints as a sentence: what it shows, and what it does not show.

    Parameters
    ----------
    conclusion : str
        The sentence.
    **values
        The numbers, which become attributes.

    Examples
    --------
    >>> from skmot._utils.results import Result
    >>> result = Result("The two are related (p = 0.01).", p_value=0.01)
    >>> print(result)
    The two are related (p = 0.01).
    >>> result.p_value
    0.01
    """

    def __init__(self, conclusion, **values):
        super().__init__(conclusion=conclusion, **values)

    def __str__(self):
        return self.conclusion

    def __reduce__(self):
        # A Bunch is restored from its items, without arguments of `__init__`.
        return _restore, (dict(self),)


def _restore(values):
    return Result(**values)
