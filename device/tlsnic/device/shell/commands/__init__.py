"""The shell's commands, one file for each group of them."""
