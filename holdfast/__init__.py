"""The `holdfast` command: everything an operator types."""
