"""Images and vectors: sources, parts, batches. `from_datasets` takes data sets of a program's own."""

from unbraid.data.sources.datasets import Datasets as Datasets
from unbraid.data.sources.datasets import from_datasets as from_datasets
