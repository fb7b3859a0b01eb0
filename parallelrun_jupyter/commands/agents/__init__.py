"""The Model Context Protocol: agents list, watch, start, repair and read runs by tools."""
