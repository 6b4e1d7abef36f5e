"""What is done with a data set before a model sees it: count what is there, check it, re-encode its videos."""
