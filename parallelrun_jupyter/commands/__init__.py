"""What can be typed: the terminal's commands, the cell's magics, and their options."""
