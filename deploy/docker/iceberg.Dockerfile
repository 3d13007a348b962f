# The committer of the Iceberg tables, for stores that several collectors share. Runs as uid 65532 and writes to the store only.
#   docker build -f deploy/docker/iceberg.Dockerfile -t fleetprof-iceberg .
# The base moves within Debian 12 so that a rebuild has its security updates; pass a digest to freeze it.
ARG DEBIAN=debian:12-slim

FROM ${DEBIAN} AS builder
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ENV FLEETPROF_CACHE=/cache CARGO_HOME=/cache/cargo
WORKDIR /src
# The tools first, from the files that name them: a change of the sources reuses this layer.
COPY Cargo.toml ./
COPY scripts/ scripts/
RUN scripts/setup.sh build && rm -rf /var/lib/apt/lists/*
COPY . .
RUN CI=true scripts/build.sh --iceberg

FROM ${DEBIAN}
LABEL org.opencontainers.image.title="fleetprof-iceberg" \
      org.opencontainers.image.description="Publishes the profiles of a fleetprof store as Apache Iceberg tables" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/fleetprof/fleetprof"
COPY --from=builder /src/target/release/fleetprof-iceberg /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["fleetprof-iceberg"]
CMD ["--every", "60s"]
