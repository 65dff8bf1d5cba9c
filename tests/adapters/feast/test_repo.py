import shutil
import sys
from pathlib import Path

import pytest
from made_shops import SHIPPED, SHOPS, YAML, compiled, repository

from flows.adapters.feast.compiler import compile_plan
from flows.adapters.feast.repo import apply, offline_folders, open_store
from flows.core.features.plan import LATENESS, Aggregate
from flows.errors import ConfigError, StoreError

HOUR = 3_600_000


@pytest.fixture
def repo(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "feature_repo", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture
def shops(tmp_path):
    return repository(tmp_path / "shops", SHOPS)


def test_the_shipped_repository_compiles_to_the_features_that_the_flights_ask_for(repo):
    apply(repo, YAML)
    plan = compile_plan(repo, YAML, "flight_delays", LATENESS)
    assert plan.entities == ("origin", "carrier", "route", "tail_number")
    assert plan.names == tuple(
        f"{entity}_{topic}__{feature}_{window}"
        for entity in ("origin", "carrier", "route", "aircraft")
        for topic in ("departures", "arrivals")
        for window in ("1h", "3h", "24h")
        for feature in ("count", "mean_delay", "max_delay")
    )
    assert {(view.name, view.stream) for view in plan.views[:2]} == {
        ("origin_departures", "departures"),
        ("origin_arrivals", "arrivals"),
    }
    assert all(view.excludes_own for view in plan.views)
    assert plan.views[0].aggregates[:3] == (
        Aggregate("count_1h", "count", "", HOUR, "int"),
        Aggregate("mean_delay_1h", "mean", "delay", HOUR),
        Aggregate("max_delay_1h", "max", "delay", HOUR),
    )


def test_compiling_again_gives_the_same_hash_and_a_changed_window_another(shops):
    first = compiled(shops)
    assert compiled(shops).hash == first.hash
    assert compiled(shops, ("hours=2", "hours=3")).hash != first.hash


def test_the_column_that_a_count_names_does_not_change_the_plan(shops):
    assert compiled(shops) == compiled(shops, ('function="count"', 'function="count", column="price"'))


def test_applying_leaves_the_repository_and_the_process_as_they_were(repo):
    before, files, path = Path.cwd(), sorted(repo.iterdir()), list(sys.path)
    wrote_bytecode = sys.dont_write_bytecode
    apply(repo, YAML)
    assert (Path.cwd(), sorted(repo.iterdir()), sys.path) == (before, files, path)
    assert sys.dont_write_bytecode == wrote_bytecode
    assert "flights" not in sys.modules


def test_applying_prints_nothing(shops, capfd):
    apply(shops, YAML)
    assert capfd.readouterr() == ("", "")


def test_a_view_that_is_no_longer_declared_leaves_the_registry(repo):
    apply(repo, YAML)
    text = (repo / "flights.py").read_text()
    text = text.replace('route_arrivals = delays(route, "arrivals", "arrived_at")\n', "")
    (repo / "flights.py").write_text(text.replace("        route_arrivals,\n", ""))
    apply(repo, YAML)
    assert len(compile_plan(repo, YAML, "flight_delays", LATENESS).views) == 7
    views = {view.name for view in open_store(repo, YAML).list_stream_feature_views()}
    assert "route_arrivals" not in views
    assert len(views) == 7 + 3  # and those of the cards


def test_applying_again_makes_the_tables_of_an_online_store_that_was_deleted(repo):
    apply(repo, YAML)
    online = repo.parent / ".driftline" / "feast" / "online.db"
    for file in online.parent.glob("online.db*"):
        file.unlink()
    apply(repo, YAML)
    store = open_store(repo, YAML)
    answer = store.get_online_features(["origin_departures:count_1h"], [{"origin": "JFK"}]).to_dict()
    assert answer == {"origin": ["JFK"], "count_1h": [None]}


def test_a_service_may_take_some_features_of_a_view(shops):
    plan = compiled(shops, ("features=[sales]", 'features=[sales[["mean"]]]'))
    assert plan.names == ("sales__mean",)


def test_an_aggregation_without_a_name_is_called_as_feast_calls_it(shops):
    plan = compiled(
        shops, ('name="n", function', "function"), ('Field(name="n"', 'Field(name="count__3600s"')
    )
    assert plan.names == ("sales__count__3600s", "sales__mean")


def test_a_push_source_is_read_from_the_topic_of_its_name(shops):
    plan = compiled(shops, ("source=stream", 'source=PushSource(name="pushed", batch_source=history)'))
    assert plan.views[0].stream == "pushed"


def test_the_offline_folder_is_the_one_that_feast_reads(shops):
    plan = compiled(shops)
    assert offline_folders(open_store(shops, YAML), plan) == {"sales": Path("/nowhere/sales")}


FIRST = 'Aggregation(name="n", function="count"'
SECOND = 'Aggregation(name="mean", function="mean"'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"mean", column',
            '"median", column',
            "'sales', aggregation 'mean': function 'median' .* use one of",
        ),
        (', column="price"', "", "'sales', aggregation 'mean': has no column; name"),
        (", time_window=timedelta(hours=1)", "", "'sales', aggregation 'n': has no time_window; give one"),
        ("hours=1)", "microseconds=1500)", "'n': its time_window must be a whole number of milliseconds"),
        (
            "hours=1)",
            "hours=1), slide_interval=timedelta(minutes=5)",
            "view 'sales': has several slide intervals; declare one view for each",
        ),
        ('name="n", dtype=Int64', 'name="n", dtype=Float64', "'n': is declared as Float64 .* make it Int64"),
        ('name="mean", dtype=Float64', 'name="mean", dtype=Int64', "'mean': .* make it Float64"),
        (
            'tags={"team"',
            'enable_tiling=True, tiling_hop_size=timedelta(minutes=7), tags={"team"',
            "its time_window is no multiple of the slide of 0:07:00",
        ),
        (
            'tags={"team"',
            'udf=lambda df: df, mode="pandas", tags={"team"',
            "view 'sales': has a udf; aggregate",
        ),
        (
            "entities=[shop]",
            "entities=[shop, town]",
            r"view 'sales': has the join keys .*; give it one entity",
        ),
        (
            "value_type=ValueType.STRING",
            "value_type=ValueType.INT32",
            "its join key is Int32; use ValueType.STRING or ValueType.INT64",
        ),
        (
            'schema=[Field(name="n"',
            'schema=[Field(name="m"',
            r"differ in \['m', 'n'\]; name the same features",
        ),
        (
            SECOND,
            SECOND.replace('"mean"', '"n"', 1),
            "two aggregations have the same name; give each its own",
        ),
        ('{"team": "tills"}', '{"driftline.exclude_own": "yes"}', "must be 'true' or 'false'"),
        (
            '{"team": "tills"}',
            '{"driftline.delay": "soon"}',
            "must be a whole number and a unit, such as '7d'",
        ),
        (
            'tags={"team": "tills"}',
            'enable_tiling=True, tags={"driftline.exclude_own": "true"}',
            "cannot leave records out of tiles",
        ),
        ("/nowhere", "nowhere", "must be a FileSource with an absolute path that ends in"),
        ("**/*.parquet", "sales.parquet", "must be a FileSource with an absolute path that ends in"),
        ('field="event_timestamp"', 'field="when"', "needs timestamp_field='event_timestamp'"),
        (
            "features=[sales]",
            'features=[sales.with_name("tills")]',
            "renamed or pinned in the service; list it",
        ),
        (
            "features=[sales]",
            'features=[sales.with_join_key_map({"shop_id": "till"})]',
            "renamed or pinned in the service; list it",
        ),
    ],
)
def test_what_the_engine_cannot_run_is_refused_with_advice(shops, old, new, said):
    with pytest.raises(ConfigError, match=said):
        compiled(shops, (old, new))


def renamed(old: str, new: str) -> list[tuple[str, str]]:
    """The changes that give a feature another name."""
    return [(f'Field(name="{old}"', f'Field(name="{new}"'), (f'gation(name="{old}"', f'gation(name="{new}"')]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (renamed("n", "created"), "view 'sales': 'created' is the name of a column that Feast's joins make"),
        (
            renamed("n", "event_timestamp"),
            "'event_timestamp' is the name of a column that Feast's joins make",
        ),
        (renamed("n", "Created"), "'Created' is the name of a column that Feast's joins make; rename it"),
        (renamed("n", "MEAN"), "'MEAN' differs from another column in upper and lower case only; rename it"),
        (renamed("n", "speed_y"), "'speed_y' ends with '_y', and Feast's join drops such columns; rename it"),
        (renamed("n", "how many"), "feature 'how many' must have only letters, digits"),
        ([('keys=["shop_id"]', 'keys=["created"]')], "'created' is the name of a column that Feast's joins"),
        ([('keys=["shop_id"]', 'keys=["shop id"]')], "join key 'shop id' must have only letters, digits"),
        ([('name="sales",\n', 'name="sales__of",\n')], "its name must not have '__'"),
        ([('name="sales",\n', 'name="sales/of",\n')], "its name 'sales/of' must have only letters, digits"),
    ],
)
def test_a_name_that_feasts_joins_or_paths_cannot_take_is_refused_by_name(shops, changes, said):
    with pytest.raises(ConfigError, match=said):
        compiled(shops, *changes)


def test_an_entity_may_have_integers_of_64_bits_as_keys(shops):
    texts = compiled(shops).views[0]
    integers = compiled(shops, ("value_type=ValueType.STRING", "value_type=ValueType.INT64")).views[0]
    assert (texts.key, integers.key) == ("text", "integer")


def test_a_stream_view_without_aggregations_is_refused(shops):
    start, end = SHOPS.index("    aggregations="), SHOPS.index("    tags=")
    (shops / "declarations.py").write_text(SHOPS[:start] + SHOPS[end:])
    with pytest.raises(ConfigError, match="view 'sales': has no aggregations; give at least one"):
        compiled(shops)


def test_an_unknown_service_is_refused_with_the_known_ones(shops):
    with pytest.raises(ConfigError, match=r"feature service 'tills' .*\(there: shops\)"):
        compiled(shops, service="tills")


def test_compiling_before_applying_says_to_apply(shops):
    with pytest.raises(StoreError, match="driftline apply"):
        compile_plan(shops, YAML, "shops", LATENESS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("entity = =", "SyntaxError"),
        ("import no_such_package", "no_such_package"),
        ('from feast import Project\nproject = Project(name="other")', "Project object name should match"),
        (SHOPS.replace("batch_source=history", "batch_source=None"), "batch_source needs to be specified"),
    ],
)
def test_declarations_that_python_or_feast_refuses_end_in_one_line(shops, text, said):
    (shops / "declarations.py").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        apply(shops, YAML)
    assert "\n" not in str(caught.value)


def test_two_views_of_one_name_end_in_one_line(shops):
    (shops / "more.py").write_text(SHOPS.replace('name="stream"', 'name="stream2"'))
    with pytest.raises(ConfigError, match="sales") as caught:
        apply(shops, YAML)
    assert "\n" not in str(caught.value)


def test_a_missing_yaml_file_is_named(shops):
    with pytest.raises(ConfigError, match=r"feature_store\.none\.yaml does not exist"):
        open_store(shops, "feature_store.none.yaml")


def test_an_unset_environment_variable_is_named(repo, monkeypatch):
    monkeypatch.delenv("DRIFTLINE_REDIS", raising=False)
    with pytest.raises(
        ConfigError, match="needs the environment variable DRIFTLINE_REDIS; set it to host:port"
    ):
        open_store(repo, "feature_store.redis.yaml")


def test_a_wrong_yaml_file_does_not_print_its_secrets(repo, monkeypatch):
    monkeypatch.setenv("DRIFTLINE_REDIS", "localhost:6379,password=hunter2")
    file = repo / "feature_store.redis.yaml"
    file.write_text(file.read_text().replace("skip_dedup: true", "skip_dedup: perhaps"))
    with pytest.raises(ConfigError, match=r"feature_store\.redis\.yaml") as caught:
        open_store(repo, "feature_store.redis.yaml")
    assert "hunter2" not in str(caught.value)


def test_a_registry_that_cannot_be_written_is_a_store_error(shops):
    (shops.parent / ".driftline").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="feast apply"):
        apply(shops, YAML)


def test_tiles_and_a_delay_are_part_of_the_plan(shops):
    plan = compiled(shops, ('tags={"team"', 'enable_tiling=True, tags={"driftline.delay": "7d", "team"'))
    (view,) = plan.views
    assert (view.slide, view.delay) == (300_000, 7 * 24 * HOUR)


@pytest.mark.parametrize("function", ["sum", "min", "max", "std", "var", "first", "last", "p95", "p99.9"])
def test_every_function_of_a_number_is_compiled(shops, function):
    plan = compiled(shops, ('function="mean"', f'function="{function}"'))
    assert [a.function for a in plan.views[0].aggregates] == ["count", function]
