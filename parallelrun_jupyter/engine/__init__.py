"""The engine: plan, scheduler, nodes and the driver that joins them."""
