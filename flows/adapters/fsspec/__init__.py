"""fsspec: the artifact store, in a folder or at a URL."""
