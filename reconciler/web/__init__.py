"""What can be asked of a log, by the command line here or by HTTP; the page, the API and the metrics of the hub."""
