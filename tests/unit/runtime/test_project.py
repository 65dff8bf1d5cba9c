"""A project is found from its subdirectories, and each fault of it is one line."""

import os
import re
import sys
from pathlib import Path

import pytest

from flows.errors import ConfigError
from flows.runtime.project import find_project, load_project

DECLARATION = """
from river import linear_model
from flows.core.stream.fields import Flag, Text, Time
from flows.pipeline import Pipeline, Stream

pipeline = Pipeline(
    name={name!r},
    events=Stream("events", "id", "at", {{"id": Text(), "at": Time()}}),
    labels=Stream("labels", "id", "at", {{"id": Text(), "at": Time(), "late": Flag()}}),
    target="late",
    entities=(),
    service="s",
    model=linear_model.LogisticRegression,
)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path[:])
    known = set(sys.modules)
    (tmp_path / "shop").mkdir()
    (tmp_path / "features").mkdir()
    (tmp_path / "shop" / "fraud.py").write_text(DECLARATION.format(name="fraud"))
    (tmp_path / "shop" / "returns.py").write_text(DECLARATION.format(name="returns"))
    declare(tmp_path, 'feature_repo = "features"\npipelines = ["shop.fraud"]')
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def declare(directory: Path, table: str) -> None:
    (directory / "pyproject.toml").write_text(f"[tool.driftline]\n{table}\n")


def fault(directory: Path) -> str:
    with pytest.raises(ConfigError) as error:
        load_project(directory)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_project_names_its_feature_repository_and_its_pipelines(project):
    loaded = load_project(project)
    assert loaded.directory == project
    assert loaded.feature_repo == project / "features"
    assert list(loaded.pipelines) == ["fraud"]
    assert loaded.modules == ("shop.fraud",)


def test_a_project_is_found_from_any_directory_in_it(project):
    deep = project / "a" / "b"
    deep.mkdir(parents=True)
    (project / "a" / "pyproject.toml").write_text("[project]\nname = 'a part without a table of its own'\n")
    assert find_project(deep) == find_project(project) == project


def test_the_closest_project_is_found(project):
    inner = project / "inner"
    inner.mkdir()
    (inner / "driftline.toml").write_text('pipelines = ["inner.module"]')
    assert find_project(inner) == inner


def test_a_driftline_toml_is_the_table_itself_and_goes_before_pyproject(project):
    (project / "driftline.toml").write_text('feature_repo = "features"\npipelines = ["shop.returns"]')
    assert list(load_project(project).pipelines) == ["returns"]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            "linear_model.LinearRegression",
            "pipeline 'fraud': the model: task 'binary' needs a classifier, got Lin",
        ),
        (
            "lambda: 1 / 0",
            "its model cannot be made: ZeroDivisionError: division by zero (fraud.py, line ",
        ),
    ],
)
def test_a_model_that_does_not_fit_or_cannot_be_made_is_told_when_the_project_is_loaded(project, model, said):
    declaration = DECLARATION.format(name="fraud").replace("linear_model.LogisticRegression", model)
    (project / "shop" / "fraud.py").write_text(declaration)
    assert said in fault(project)


def test_a_module_that_cannot_be_imported_is_told_with_the_line_that_failed(project):
    (project / "shop" / "fraud.py").write_text("x = 1\ny = itmes\n")
    assert "NameError: name 'itmes' is not defined (fraud.py, line 2, in <module>)" in fault(project)


def test_the_feature_repository_is_called_so_by_default(project):
    declare(project, 'pipelines = ["shop.fraud"]')
    assert "there is no directory" in fault(project)
    (project / "feature_repo").mkdir()
    assert load_project(project).feature_repo == project / "feature_repo"


def test_a_directory_that_is_in_no_project_is_told_how_to_become_one(tmp_path):
    with pytest.raises(ConfigError, match=r"add a \[tool.driftline\] table"):
        find_project(tmp_path)
    assert "has no [tool.driftline] table" in fault(tmp_path)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "must name the pipelines' modules"),
        ("pipelines = []", "must name the pipelines' modules"),
        ('pipelines = "shop.fraud"', "must name the pipelines' modules"),
        ("pipelines = [1]", "must name the pipelines' modules"),
        ('pipelines = ["shop.fraud"]\nfeature_repo = "nowhere"', "there is no directory"),
        ('feature_repo = "features"\npipelines = ["shop.nothing"]', "cannot import 'shop.nothing'"),
        ('feature_repo = "features"\npipelines = ["nothing"]', "cannot import 'nothing'"),
        ('feature_repo = "features"\npipelines = ["shop"]', ") defines no `pipeline`"),
        (
            'feature_repo = "features"\npipelines = ["shop.fraud", "shop.fraud"]',
            "two pipelines are called 'fraud'",
        ),
        ("pipelines = [", "is not valid TOML"),
    ],
)
def test_a_table_that_is_wrong_is_one_line_that_says_what(project, table, said):
    declare(project, table)
    assert said in fault(project)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[tool]\ndriftline = 'shop.fraud'", "tool.driftline must be a table"),
        (b"tool = 1", "has no [tool.driftline] table"),
        (b"\xff\xfe not text", "is not valid TOML"),
    ],
)
def test_a_pyproject_that_is_wrong_is_one_line_that_says_what(project, content, said):
    (project / "pyproject.toml").write_bytes(content)
    assert said in fault(project)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("pipeline = 'fraud'", "shop.wrong.pipeline must be a flows.pipeline.Pipeline, not str"),
        ("model = 1", "wrong.py) defines no `pipeline`"),
        ("import a_package_that_is_not_there", "No module named 'a_package_that_is_not_there'"),
        ("pipeline = undefined", "NameError: name 'undefined' is not defined"),
        ("import os; os.nothing", "AttributeError: module 'os' has no attribute 'nothing'"),
        ("pipeline = ", "SyntaxError"),
        (DECLARATION.format(name="fraud").replace("target=", "goal="), "unexpected keyword argument 'goal'"),
    ],
)
def test_a_module_that_is_wrong_is_one_line_that_says_what(project, code, said):
    (project / "shop" / "wrong.py").write_text(code)
    declare(project, 'feature_repo = "features"\npipelines = ["shop.wrong"]')
    assert said in fault(project)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (
            ('target="late"', 'target="early"'),
            "the target 'early' is not a field of topic 'labels'; declare it",
        ),
        (("entities=()", "entities='region'"), "`entities` must be a tuple, got 'region'; write ('region',)"),
        (('"at": Time()}})', '"at": str}})'), "field 'at' must be a field, got the class str; write Text()"),
        (
            ("'fraud'", "'../../../outside/x'"),
            "`name` must have only letters, digits, '.', '_' and '-', got '../",
        ),
        (("target=", "goal="), "unexpected keyword argument 'goal'"),
        (("linear_model.L", "1 / 0 or linear_model.L"), "ZeroDivisionError: division by zero"),
    ],
)
def test_a_wrong_declaration_is_told_with_its_file_and_line(project, declared, said):
    text = DECLARATION.format(name="fraud").replace("{{", "{").replace("}}", "}")
    old, new = (part.replace("}}", "}") for part in declared)
    assert old in text
    file = project / "shop" / "fraud.py"
    file.write_text(text.replace(old, new, 1))
    told = fault(project)
    assert said in told
    (line,) = re.findall(r"fraud\.py(?::|, line )(\d+)", told)
    there = file.read_text().splitlines()[int(line) - 1]
    assert "Pipeline(" in there or new in there


def test_pipelines_whose_topics_kafka_would_refuse_beside_one_another_are_refused(project):
    (project / "shop" / "a.py").write_text(DECLARATION.format(name="cards.eu"))
    (project / "shop" / "b.py").write_text(DECLARATION.format(name="cards_eu"))
    declare(project, 'feature_repo = "features"\npipelines = ["shop.a", "shop.b"]')
    said = fault(project)
    assert "pipelines 'cards.eu' and 'cards_eu' would both write 'cards_eu.predictions'" in said
    assert "rename one" in said


def test_a_pipeline_may_read_what_another_one_writes_but_no_name_that_differs_in_the_dot(project):
    declare(project, 'feature_repo = "features"\npipelines = ["shop.fraud", "shop.next"]')
    text = DECLARATION.format(name="next")
    (project / "shop" / "next.py").write_text(text.replace('"events"', '"fraud.predictions"'))
    assert list(load_project(project).pipelines) == ["fraud", "next"]
    del sys.modules["shop.next"]
    # of another size: within a second Python takes a file of the same size for the one that it compiled
    (project / "shop" / "next.py").write_text(text.replace('"events"', '"fraud_predictions"') + "\n")
    said = fault(project)
    assert "pipeline 'next' reads topic 'fraud_predictions', whose name differs only in '.' and '_'" in said


@pytest.mark.parametrize(
    ("key", "said"),
    [("pipeline", "did you mean 'pipelines'?"), ("colour", "the keys are feature_repo, pipelines")],
)
def test_a_key_that_is_none_is_refused_with_the_nearest(project, key, said):
    declare(project, f'pipelines = ["shop.fraud"]\n{key} = 1')
    assert f"unknown key {key!r}; {said}" in fault(project)


def test_the_only_pipeline_need_not_be_named(project):
    assert load_project(project).pipeline().name == load_project(project).pipeline("fraud").name == "fraud"


def test_of_several_pipelines_one_must_be_named_and_the_choice_is_told(project):
    declare(project, 'feature_repo = "features"\npipelines = ["shop.returns", "shop.fraud"]')
    loaded = load_project(project)
    assert loaded.pipeline("returns").name == "returns"
    with pytest.raises(ConfigError, match=r"has several pipelines; choose .* among: fraud, returns"):
        loaded.pipeline()
    with pytest.raises(ConfigError, match=r"there is no pipeline 'x'; choose .* among: fraud, returns"):
        loaded.pipeline("x")


def test_this_repository_is_a_project_with_the_flights_in_it():
    loaded = load_project(find_project(Path(__file__).parent))
    assert loaded.pipeline("flight_delays").labels.topic == "flight_labels"
    assert loaded.feature_repo.name == "feature_repo"


def test_a_project_in_a_parent_directory_of_another_owner_is_not_imported(project, monkeypatch):
    """As git does; root may do everything anyway, so what root owns is trusted."""
    deep = project / "a"
    deep.mkdir()
    owner = os.geteuid()
    monkeypatch.setattr("flows.runtime.project.os.geteuid", lambda: owner + 1)
    monkeypatch.setattr("flows.runtime.project.ROOT", -1)
    with pytest.raises(
        ConfigError, match=r"must be owned by you or root .* were not imported\. If you trust it"
    ):
        find_project(deep)
    assert find_project(project) == project  # going there is the word that it is trusted


@pytest.mark.parametrize("path", ["", "pyproject.toml"])
def test_a_project_in_a_parent_directory_that_anybody_can_write_is_not_imported(project, path):
    deep = project / "a"
    deep.mkdir()
    (project / path).chmod(0o777)
    with pytest.raises(ConfigError, match=r"writable by nobody else, got .* with mode 0777"):
        find_project(deep)
    (project / path).chmod(0o775)  # a group is made by somebody with the right to
    assert find_project(deep) == project
