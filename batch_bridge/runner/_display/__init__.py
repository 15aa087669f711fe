"""What people see of a Runner's runs: the progress in a terminal or a notebook, and notices."""
