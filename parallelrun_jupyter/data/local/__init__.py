"""Files on this machine: listed, and compared with what they were."""
