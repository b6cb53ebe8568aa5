"""Many runs: the points of a sweep, in processes here or on Ray."""
