"""The playground: everything of a drag in one widget, see `Playground`."""

from widgets.playground.playground import Playground

__all__ = ["Playground"]
