"""From records to tables, by rows, comparisons and ensembles."""
