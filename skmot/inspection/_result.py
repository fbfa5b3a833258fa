"""Base class of the displays of the result of a test."""

import inspect
from abc import ABC, abstractmethod

from skmot.inspection._drawing import (
    COLUMN_WIDTH,
    check_result,
    drawing,
    write_sentence,
)


class ResultDisplay(ABC):
    """Base class of the displays of the result of a test, with its conclusion.

    The parameters of a subclass are the values that it needs of the result, and one of
    them is `conclusion`. A subclass implements `_draw`.
    """

    # Name of the function that returns the result.
    _function = ""
    # Height of a new figure in inches.
    _height = 2.0

    @classmethod
    def from_result(cls, result, *, ax=None, show_conclusion=True):
        """Plot the result of a test.

        Parameters
        ----------
        result : Result
            What the function returns.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.
        show_conclusion : bool, default=True
            Whether to write the conclusion above the plot.

        Returns
        -------
        display : object
            Display that stores the plotted values.

        Raises
        ------
        TypeError
            If the result is of another function.
        """
        fields = tuple(inspect.signature(cls).parameters)
        check_result(result, fields, cls._function)
        values = {field: getattr(result, field) for field in fields}
        return cls(**values).plot(ax, show_conclusion=show_conclusion)

    def plot(self, ax=None, *, show_conclusion=True):
        """Plot the values.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.
        show_conclusion : bool, default=True
            Whether to write the conclusion above the plot.

        Returns
        -------
        display : object
            The object itself.
        """
        is_new = ax is None
        with drawing(ax, (COLUMN_WIDTH, self._height)) as (ax,):
            self.ax_, self.figure_ = ax, ax.figure
            self._draw(ax)
            if show_conclusion and self.conclusion:
                write_sentence(ax, self.conclusion, is_new=is_new)
        return self

    @abstractmethod
    def _draw(self, ax):
        """Draw into axes, and store the artists."""
