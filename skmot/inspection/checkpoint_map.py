"""CheckpointMapDisplay, a plot of which checkpoints of two runs correspond."""

import numpy as np

from skmot.inspection.layer_coupling import LayerCouplingDisplay


class CheckpointMapDisplay(LayerCouplingDisplay):
    """Plot of the costs and the coupling of the checkpoints of two training runs.

    The rows and columns are the networks of two stacks of networks, for instance the
    checkpoints of two training runs. A line joins the mean position of the checkpoints
    that each checkpoint is coupled to: it is on the diagonal if both runs pass the same
    stages at the same time.

    Parameters
    ----------
    layer_costs : ndarray of shape (n_source_checkpoints, n_target_checkpoints) or None
        Cost of each pair of checkpoints. None if only the coupling is drawn.
    coupling : ndarray of shape (n_source_checkpoints, n_target_checkpoints)
        Weight of each pair of checkpoints.
    direction : {"target", "source"}, default="target"
        Side that the weights reconstruct.
    source_names, target_names : sequence of str, default=None
        Names of the checkpoints. None numbers them from 1.
    network_names : tuple of two str, default=("source", "target")
        Names of the two runs.
    cost_name : str, default="cost"
        Quantity that the costs are.
    note : str, default=None
        Sentence that is written beside the hierarchy score.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the plot.
    axes_ : ndarray of matplotlib Axes of shape (n_panels,)
        Axes of the costs and of the coupling.
    images_ : list of matplotlib AxesImage
        Images of the costs and of the coupling.
    colour_bars_ : list of matplotlib Colorbar
        Colour bars of both images.
    positions_ : ndarray of shape (n_target_checkpoints,)
        Mean index of the source checkpoints that each target checkpoint is coupled to,
        from 0. For `direction="source"`, of shape (n_source_checkpoints,) and the other
        way round.
    line_ : matplotlib Line2D
        Line through these positions. None if the coupling is not drawn.

    See Also
    --------
    LayerCouplingDisplay : The same for the layers of two networks.

    Notes
    -----
    A checkpoint can only be coupled to another one, so the line says nothing about how
    alike they are: see the costs. If the two stacks have as many checkpoints, transport
    couples each checkpoint to one other.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LayerStack, MultiLevelOT
    >>> from skmot.inspection import CheckpointMapDisplay
    >>> rng = np.random.default_rng(0)
    >>> run = [LayerStack([rng.normal(size=(50, 8)) for _ in range(2)]) for _ in "abc"]
    >>> mot = MultiLevelOT(MultiLevelOT()).fit(run, run[::-1])
    >>> CheckpointMapDisplay.from_estimator(mot).positions_
    array([2., 1., 0.])
    """

    _item = "checkpoint"
    # The line would hide them.
    _writes_shares = False

    @staticmethod
    def _check_levels(estimator):
        """Raise an error unless the estimator couples networks of layers."""
        inner = getattr(estimator, "inner_", None)
        if inner is None or not hasattr(inner[0][0], "layer_costs_"):
            raise TypeError(
                f"{type(estimator).__name__} couples no networks of layers: give a "
                "MultiLevelOT whose inner estimator is a MultiLevelOT, or what ends in "
                "one. For the layers of two networks, use LayerCouplingDisplay."
            )

    def plot(
        self,
        axes=None,
        *,
        panels="both",
        cost_limits=None,
        share_limits=None,
        show_hierarchy=False,
    ):
        """Plot the costs and the coupling of the checkpoints.

        Parameters
        ----------
        axes : matplotlib Axes or sequence of them, default=None
            Axes of each panel. None creates a figure.
        panels : {"both", "costs", "coupling"}, default="both"
            What to draw.
        cost_limits, share_limits : tuple of two floats, default=None
            Ends of the colour scales, see :meth:`LayerCouplingDisplay.plot`.
        show_hierarchy : bool, default=False
            Whether to write the hierarchy score, which here says how closely the
            coupling follows the order of the checkpoints.

        Returns
        -------
        display : CheckpointMapDisplay
            The object itself.

        Raises
        ------
        ValueError
            As in :meth:`LayerCouplingDisplay.plot`.
        """
        self.line_ = None
        super().plot(
            axes,
            panels=panels,
            cost_limits=cost_limits,
            share_limits=share_limits,
            show_hierarchy=show_hierarchy,
        )
        return self

    def _draw_coupling(self, ax, limits, sentences):
        image = super()._draw_coupling(ax, limits, sentences)
        shares = self.shares() if self.direction == "target" else self.shares().T
        # Of each column, the mean index of the rows, weighted by the shares.
        self.positions_ = np.arange(len(shares)) @ shares / shares.sum(axis=0)
        places = np.arange(shares.shape[1])
        points = places, self.positions_
        (self.line_,) = ax.plot(
            *(points if self.direction == "target" else points[::-1]),
            color="#D55E00",
            marker="o",
            markersize=3,
            linewidth=1,
        )
        return image
