# Two images from one file: `serve` (supervisor, workers, compute process, control) and `train`.
# Build with the base image pinned to the digest your registry shows:
#   docker build --build-arg BASE=python:3.11-slim-bookworm@sha256:<digest> --target serve -t paedsresus-ml:serve .
ARG BASE=python:3.11.7-slim-bookworm

FROM ${BASE} AS wheels-serve
WORKDIR /house
COPY requirements/control.txt requirements/
RUN python -m venv /opt/house \
    && /opt/house/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/control.txt

FROM ${BASE} AS wheels-train
WORKDIR /house
COPY requirements/train.txt requirements/
RUN python -m venv /opt/house \
    && /opt/house/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/train.txt

FROM ${BASE} AS house
ENV PATH=/opt/house/bin:$PATH \
    PYTHONPATH=/house:/house/clients/python/src \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true
WORKDIR /house
RUN groupadd --gid 10001 house \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin house \
    && install -d -o 10001 -g 10001 /house/state /house/mlruns
COPY methods methods
COPY clients/python/src clients/python/src
STOPSIGNAL SIGTERM

FROM house AS serve
COPY --from=wheels-serve /opt/house /opt/house
COPY server server
USER 10001:10001
EXPOSE 50051 9464
VOLUME ["/house/state", "/house/mlruns"]
CMD ["python", "-m", "server", "serve"]

FROM house AS train
COPY --from=wheels-train /opt/house /opt/house
COPY training training
USER 10001:10001
VOLUME ["/house/mlruns", "/house/data"]
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]
