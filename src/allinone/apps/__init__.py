"""Programs that stand on the library: search, a server, tools for data sets, reports, the demo, conversions."""
