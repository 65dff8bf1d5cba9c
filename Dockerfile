# One image for all five flows and the command: `driftline run predict`, `driftline apply` and so on.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY flows flows
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/driftline-*.whl)[flights]"

# The project directory: what [tool.driftline] in pyproject.toml names, and the state
WORKDIR /project
COPY pyproject.toml ./
COPY feature_repo feature_repo
RUN useradd --system --create-home driftline && mkdir .driftline && chown driftline .driftline
USER driftline

# A volume keeps this: flow states, feature plan, Feast's registry and the offline store
VOLUME /project/.driftline
ENTRYPOINT ["driftline"]
CMD ["--help"]
