"""What is unique to one paper, a file each."""
