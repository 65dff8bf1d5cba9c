"""`driftline serve` speaks the Open Inference Protocol, with the topic's models and the store's features."""

from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton
from harness import PATIENCE, Project, wait_until
from made_flights import HOUR, NOON
from served import Server, serving
from served_world import FLIGHTS, american_champion, champion, flown

from flows.core.features.feature_rows import decode
from flows.core.stream.times import iso, milliseconds

MODEL = "/v2/models/flight_delays"
KEYS = {"origin": ["JFK"], "carrier": ["AA"], "route": ["JFK-LAX"], "tail_number": ["N1"]}


@pytest.fixture(scope="module")
def project(applied: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return flown(applied, tmp_path_factory.mktemp("flown") / "project")


@pytest.fixture(scope="module")
def spare(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a copy of the project, made before a server runs on it."""
    return project.copy_to(tmp_path_factory.mktemp("spare") / "project")


@pytest.fixture(scope="module")
def server(project: Project, spare: Project) -> Iterator[Server]:  # noqa: ARG001  copied before
    with serving(project) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as found:
        yield found


@pytest.fixture(scope="module")
def served_columns(project: Project) -> dict[str, list]:
    """Return the features of the last ten predictions, by name."""
    names = project.engine().pipeline.feature_names(project.engine().state.plan())
    rows = [value["features"] for value in project.values("predictions")[-10:]]
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def local_scores(project: Project, columns: dict[str, list]) -> list[float]:
    model = champion(project.engine())
    rows = zip(*columns.values(), strict=True)
    return [model.score(dict(zip(columns, row, strict=True))) for row in rows]


def outputs(answer: dict) -> dict[str, list]:
    return {output["name"]: output["data"] for output in answer["outputs"]}


def test_served_features_with_texts_and_nulls_get_the_scores_of_the_newest_champion(
    project, server, served_columns
):
    assert any(value is None for column in served_columns.values() for value in column)
    answer = server.infer(served_columns).json()
    assert (answer["model_name"], answer["model_version"]) == ("flight_delays", "v1")
    assert answer["parameters"] == {"learned": FLIGHTS}
    scores = local_scores(project, served_columns)
    assert outputs(answer) == {"score": scores, "label": [score > 0.5 for score in scores]}
    as_version = server.infer(served_columns, f"{MODEL}/versions/v1/infer").json()
    assert as_version["outputs"] == answer["outputs"]


@pytest.mark.parametrize(
    ("columns", "status"),
    [
        (None, 200),  # those of the last predictions
        ({**KEYS, "minute_of_day": [720]}, 200),
        ({"minute_of_day": [720]}, 400),
        ({**KEYS, "minute_of_day": ["noon"]}, 400),
    ],
)
def test_the_short_way_of_a_request_and_the_one_through_the_framework_give_one_answer(
    server, served_columns, columns, status
):
    path = f"{MODEL}/infer"
    short = server.infer(columns or served_columns, path)
    long = server.infer(columns or served_columns, f"{path}?by=another-form")
    assert (short.status_code, short.content) == (long.status_code, long.content)
    assert (short.status_code, short.headers["content-type"]) == (status, long.headers["content-type"])


def test_features_by_the_keys_of_entities_are_those_of_the_online_store_with_their_time(project, server):
    answer = server.infer({**KEYS, "minute_of_day": [720]}).json()
    rows = [row for record in project.records("features") for row in decode(record)]
    newest = {(row.view, row.key): row for row in sorted(rows, key=lambda row: row.time)}
    engine = project.engine()
    plan = engine.state.plan()
    mine = [newest[view.name, KEYS[view.entity][0]] for view in plan.views]
    assert outputs(answer)["features_as_of"] == [iso(min(row.time for row in mine))]
    features = ["AA", 720, *(value for row in mine for value in row.values)]
    names = engine.pipeline.feature_names(plan)
    score = champion(engine).score(dict(zip(names, features, strict=True)))
    assert outputs(answer)["score"] == [score]


def test_windows_that_ended_before_the_event_are_empty(server):
    late = {**KEYS, "minute_of_day": [720], "scheduled_departure": [iso(NOON + 1000 * HOUR)]}
    unknown = {"origin": ["X"], "carrier": ["AA"], "route": ["X-Y"], "tail_number": ["N0"]}
    ended, new = server.infer(late).json(), server.infer({**unknown, "minute_of_day": [720]}).json()
    assert milliseconds(outputs(ended)["features_as_of"][0]) < NOON + 1000 * HOUR
    assert outputs(new)["features_as_of"] != [None]  # the carrier is known
    empty = {**unknown, "carrier": ["ZZ"]}
    nothing = server.infer({**empty, "minute_of_day": [720]}).json()
    assert outputs(nothing)["features_as_of"] == [None]


def test_metadata_name_the_inputs_the_outputs_and_the_versions_in_service(server):
    about = server.get(MODEL).json()
    assert about["versions"] == ["v1"]
    inputs = {each["name"]: each["datatype"] for each in about["inputs"]}
    assert (inputs["carrier"], inputs["minute_of_day"]) == ("BYTES", "FP64")
    assert inputs["origin_departures__count_1h"] == "INT64"
    assert [each["name"] for each in about["outputs"]] == ["score", "label"]
    assert server.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert server.get("/v2/health/live").status_code == 200
    assert server.get(f"{MODEL}/ready").status_code == 200
    assert server.get(f"{MODEL}/versions/champion/ready").status_code == 200


@pytest.mark.parametrize("is_binary", [True, False])
def test_the_client_of_triton_gets_the_same_scores_with_binary_data_and_without(
    project, client, served_columns, is_binary
):
    names = [name for name in served_columns if name not in ("carrier",)]
    numbers = {name: [value or 0 for value in served_columns[name]] for name in names}
    columns = {"carrier": served_columns["carrier"], **numbers}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("flight_delays")
    assert client.get_model_metadata("flight_delays")["name"] == "flight_delays"
    inputs = []
    for name, values in columns.items():
        is_text = name == "carrier"
        given = np.array(values, dtype=object if is_text else np.float64)
        tensor = triton.InferInput(name, [len(values)], "BYTES" if is_text else "FP64")
        tensor.set_data_from_numpy(given, binary_data=is_binary)
        inputs.append(tensor)
    wanted = [triton.InferRequestedOutput(name, binary_data=is_binary) for name in ("score", "label")]
    answer = client.infer("flight_delays", inputs, outputs=wanted, request_id="r1")
    scores = local_scores(project, columns)
    assert answer.as_numpy("score").tolist() == scores
    assert answer.as_numpy("label").tolist() == [score > 0.5 for score in scores]
    assert answer.get_response()["id"] == "r1"


def test_the_client_of_triton_works_with_its_defaults(project, client, served_columns):
    columns = {name: [values[0]] for name, values in served_columns.items()}
    inputs = []
    for name, values in columns.items():
        is_text = name == "carrier"
        tensor = triton.InferInput(name, [1], "BYTES" if is_text else "FP64")
        missing = [np.nan if value is None else value for value in values]  # a missing number
        tensor.set_data_from_numpy(np.array(missing, dtype=object if is_text else np.float64))
        inputs.append(tensor)
    answer = client.infer("flight_delays", inputs)
    assert answer.as_numpy("score").tolist() == local_scores(project, columns)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"carrier": None}, "input 'carrier' is missing"),
        ({"carrier": [5.0]}, "input 'carrier' must be a string"),
        ({"minute_of_day": [1440.0]}, "must be between 0 and 1439"),
        ({"nothing": [1.0]}, "an input must be one of carrier, minute_of_day"),
        ({"origin_departures__count_1h": None}, "send all features of a view, or none"),
        ({"origin_departures__count_1h": [0.5]}, "must be a whole number or None"),
        ({"minute_of_day": [1.0, 2.0]}, "all inputs must have the same number of rows"),
    ],
)
def test_a_wrong_input_is_answered_with_400_and_its_name(server, served_columns, change, said):
    columns = {name: [values[0]] for name, values in served_columns.items()} | change
    answer = server.infer({name: values for name, values in columns.items() if values is not None})
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_features_without_a_key_to_read_them_by_are_refused(server):
    answer = server.infer({"carrier": ["AA"], "minute_of_day": [720]})
    assert answer.status_code == 400
    assert "send it, or 'origin', by which it is read from the online store" in answer.json()["error"]


def test_unknown_pipelines_versions_and_paths_are_answered_with_404(server):
    for path in ("/v2/models/nothing", f"{MODEL}/versions/v99/ready", "/v1/flight_delays/nothing"):
        answer = server.get(path)
        assert (answer.status_code, list(answer.json())) == (404, ["error"])


def test_a_swap_of_the_champion_reaches_the_server_and_the_old_one_is_served_by_its_version(spare):
    request = {**KEYS, "minute_of_day": [720]}
    with serving(spare) as server:
        before = server.infer(request).json()
        assert before["model_version"] == "v1"
        spare.send([american_champion(spare.engine(), "v7", 10**12)])
        wait_until(lambda: server.infer(request).json()["model_version"] == "v7", PATIENCE)
        assert outputs(server.infer(request).json())["score"] != outputs(before)["score"]
        old = server.infer(request, f"{MODEL}/versions/v1/infer").json()
        assert old["outputs"] == before["outputs"]


def test_the_server_listens_on_loopback_and_ends_with_0_on_sigterm(project):
    with serving(project) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert server.running.stop() == 0


def test_a_port_that_is_taken_is_a_mistake_of_one_line(project, server):
    done = project.with_settings(SERVE_PORT=server.url.rpartition(":")[2]).run("serve")
    assert done.returncode == 2
    assert "set DRIFTLINE_SERVE_PORT to a free port" in done.stderr
