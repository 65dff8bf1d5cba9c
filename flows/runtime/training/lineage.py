"""The part of a version's lineage that tells by which code it is made."""

from flows.adapters.git.repository import code_version
from flows.host.libraries import library_versions
from flows.runtime.engine import Engine


def code_lineage(engine: Engine) -> dict[str, object]:
    """Return the hash of the feature plan, the versions of the packages, and the project's commit."""
    code = code_version(engine.project.directory)
    return {
        "plan": engine.state.plan().hash,
        "libraries": library_versions(),
        "code": None if code is None else code._asdict(),
    }
