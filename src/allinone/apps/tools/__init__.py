"""Work on a dataset before training: count its records, check its files, re-encode or pack its videos."""
