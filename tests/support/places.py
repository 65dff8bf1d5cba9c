"""The folders of the repository that tests read."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SHIPPED = ROOT / "feature_repo"
EVERYTHING = Path(__file__).with_name("everything")
