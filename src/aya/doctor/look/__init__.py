"""What reads the machine for `aya doctor`: each function returns a frozen observation, and judges nothing."""
