"""Excludes the helpers from collection: pytest would import them a second time to look for doctests."""

collect_ignore_glob = ["*"]
