"""From words on the command line to one typed configuration."""
