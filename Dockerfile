# One image for every process of a deployment; the compose files say which one runs.
#
#     docker build --build-arg TORCH_INDEX=INDEX -t fedrec:VERSION .
#
# TORCH_INDEX   a package index of torch builds. Empty: the default index, whose Linux builds bring CUDA with them (the
#               CUDA variant). The index of CPU builds that torch's own installation page names makes the CPU variant.
# TORCH_HASH    sha256:... of the torch wheel, checked where it is given; all other packages are locked by hash.
# BASE          the image below, best with its digest (name:tag@sha256:...); BASE_DIGEST repeats it in a label.
# VERSION, REVISION, CREATED, SOURCE   go into labels.
#
# Three layers that change at different speeds: the base, what we need, our own code.
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS tools
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get -qq update && apt-get -qq install -y --no-install-recommends binutils >/dev/null && python -m venv /venv

FROM tools AS needs
ARG TORCH=2.13.0
ARG TORCH_INDEX=""
ARG TORCH_HASH=""
WORKDIR /source
COPY deploy/requirements.txt deploy/slim.sh ./
# The lock has what torch needs but for CUDA: the CPU build finds everything there.
RUN /venv/bin/pip install --no-compile --no-deps --require-hashes -r requirements.txt \
    && echo "torch==${TORCH}${TORCH_HASH:+ --hash=$TORCH_HASH}" > torch.txt \
    && /venv/bin/pip install --no-compile ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} ${TORCH_HASH:+--no-deps} -r torch.txt \
    && sh slim.sh /venv \
    && echo /opt/fedrec > "$(echo /venv/lib/python3*/site-packages)/fedrec.pth"

FROM tools AS code
WORKDIR /source
COPY deploy/build.txt ./
RUN /venv/bin/pip install --no-deps --require-hashes -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY fedrec fedrec
RUN /venv/bin/pip install --no-build-isolation --no-deps --target /opt/fedrec .

FROM ${BASE}
# Nothing installs packages here, and no program is more than its caller.
RUN rm -rf /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip /usr/local/bin/pip* \
        /usr/lib/python3*/ensurepip /usr/share/python-wheels \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin fedrec
COPY --from=needs /venv /venv
COPY --from=code /opt/fedrec /opt/fedrec
ENV PATH=/opt/fedrec/bin:/venv/bin:$PATH \
    HOME=/tmp \
    FLWR_HOME=/tmp/flwr \
    FEDREC_ALIVE=/tmp/alive \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 \
    FLWR_TELEMETRY_ENABLED=0 \
    FLWR_DISABLE_UPDATE_CHECK=1 \
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1
USER 10001:10001
WORKDIR /tmp
CMD ["fedrec", "--help"]
ARG VERSION="" REVISION="" CREATED="" SOURCE="" BASE_DIGEST=""
LABEL org.opencontainers.image.title="fedrec" \
      org.opencontainers.image.description="Recommenders of several markets learn together" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.base.digest="$BASE_DIGEST"
