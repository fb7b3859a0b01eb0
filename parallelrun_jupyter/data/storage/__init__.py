"""Object stores and web addresses: described, listed, read and written."""
