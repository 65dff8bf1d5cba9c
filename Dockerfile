# One image for the command, all five flows and the server: `driftline apply`, `driftline run predict`, `driftline serve`.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY flows flows
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/driftline-*.whl)[flights,serve]"

# The project directory: pyproject.toml with [tool.driftline], the feature repository, and the state
WORKDIR /project
COPY pyproject.toml ./
COPY feature_repo feature_repo
RUN useradd --system --create-home driftline && mkdir .driftline && chown driftline .driftline
USER driftline

# Flow states, feature plans, Feast's registry and the offline store
VOLUME /project/.driftline
ENTRYPOINT ["driftline"]
CMD ["--help"]
