# The gateway as a container image. Built and tried by `make image` and `make image-test`; how to run it stands in docs/operations.md.
#
# Two stages: the first has pip and the build tools, the second only Python, the locked dependencies and the gateway.
# The base may be any image that has python3 (3.11 or newer) with its venv module, useradd and groupadd.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
COPY requirements.lock requirements-dev.lock ./
# The optional secret `ca` holds certificates for sites whose way to the package index runs through an inspecting proxy.
# The tools that make the wheel come from the hashed lock as well; nothing is resolved here.
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
    && export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    && python3 -m venv /build/tools && python3 -m venv --without-pip /opt/isobridge \
    && awk '/^[a-z]/ {wanted = /^setuptools==/} wanted' requirements-dev.lock > build.lock \
    && /build/tools/bin/pip install --quiet --require-hashes -r build.lock \
    && /build/tools/bin/pip --python /opt/isobridge/bin/python install --quiet --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY gateway gateway
RUN export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    && /build/tools/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /build/wheels . \
    && /build/tools/bin/pip --python /opt/isobridge/bin/python install --quiet --no-deps --no-index /build/wheels/*.whl

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Isobridge" \
      org.opencontainers.image.description="DICOM to FHIR R4 gateway for nuclear medicine" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A fixed number, so that the owner of a mounted directory can be set beforehand.
RUN groupadd --gid 10001 isobridge \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin isobridge \
    && install -d -m 0700 -o 10001 -g 10001 /data
COPY --from=build /opt/isobridge /opt/isobridge
COPY LICENSE NOTICE /app/
COPY config /app/config
COPY mappings /app/mappings
# Without further settings it listens on loopback inside the container: reachable by its health check, by nobody else.
ENV PATH=/opt/isobridge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ISOBRIDGE_CONFIG=/app/config/gateway.yaml \
    ISOBRIDGE_DATA__DIRECTORY=/data \
    ISOBRIDGE_MAPPINGS__DIRECTORY=/app/mappings
USER 10001:10001
WORKDIR /app
VOLUME /data
EXPOSE 11112 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["isobridge", "health"]
ENTRYPOINT ["isobridge"]
CMD ["serve"]
