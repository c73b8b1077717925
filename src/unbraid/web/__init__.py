"""The explorer: a local page that shows what models learned. Needs `pip install 'unbraid[web]'`."""
