"""From a trained model to an index that people can query: embed folders, build an index, search it."""
