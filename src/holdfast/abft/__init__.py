"""Algorithm-based fault tolerance: checksums that detect soft errors in a network while it runs."""

from holdfast.abft.events import Event
from holdfast.abft.protect import Protected, protect

__all__ = ["Event", "Protected", "protect"]
