# The collector, with the command line beside it. Runs as uid 65532 and writes only to /data.
#   docker build -f deploy/docker/collector.Dockerfile -t fleetprof-collector .
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
# Up to here the same as agent.Dockerfile: built one after the other, the two share these layers.
RUN CI=true scripts/build.sh
# hadolint ignore=DL3059
RUN install -d -m 0750 -o 65532 -g 65532 /data

FROM ${DEBIAN}
LABEL org.opencontainers.image.title="fleetprof-collector" \
      org.opencontainers.image.description="Symbolizes and stores what fleetprof agents stream, and answers with pprof" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/fleetprof/fleetprof"
COPY --from=builder /src/target/release/fleetprof-collector /src/target/release/fleetprof /usr/local/bin/
COPY --from=builder --chown=65532:65532 /data /data
COPY deploy/docker/healthcheck.sh /usr/local/bin/healthcheck
VOLUME /data
EXPOSE 7171
USER 65532:65532
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["healthcheck", "7171", "/readyz"]
ENTRYPOINT ["fleetprof-collector"]
# In a container the port is only reachable when it is not bound to loopback.
CMD ["--listen", "0.0.0.0:7171", "--data-dir", "/data"]
