# syntax=docker/dockerfile:1
# One image for every process of a deployment; the compose files say which one runs.
#
# TORCH_INDEX: a package index of torch builds. Empty: the default index, whose Linux builds bring CUDA with them (the
# CUDA variant). The index of CPU builds that torch's own installation page names makes the CPU variant, a tenth of it.

FROM python:3.11.14-slim-bookworm AS build
ARG TORCH_INDEX=""
WORKDIR /source
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
COPY constraints.txt pyproject.toml README.md LICENSE ./
# torch first: left to a resolver, it comes from the default index. Ray is for simulations; no host needs it.
RUN /venv/bin/pip install -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
RUN /venv/bin/python -c "import tomllib; \
needs = tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']; \
print(*(need.replace('[simulation]', '') for need in needs), sep='\n')" > needs.txt \
    && /venv/bin/pip install -c constraints.txt -r needs.txt
COPY fedrec fedrec
COPY clients clients
COPY server server
COPY strategies strategies
RUN /venv/bin/pip install --no-deps .

FROM python:3.11.14-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin fedrec
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    HOME=/tmp \
    FLWR_HOME=/tmp/flwr \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    OMP_NUM_THREADS=1 \
    FLWR_TELEMETRY_ENABLED=0 \
    FLWR_DISABLE_UPDATE_CHECK=1 \
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1
USER 10001:10001
WORKDIR /tmp
CMD ["fedrec", "--help"]
