"""Where training data comes from: the synthetic shop and loaders of public data sets."""
