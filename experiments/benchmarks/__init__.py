"""How fast networks train and clips load."""
